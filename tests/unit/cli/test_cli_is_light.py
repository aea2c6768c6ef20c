"""`hearth --help` must not pay for what it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "langgraph", "langchain_core", "sqlmodel", "sqlalchemy", "textual", "numpy", "httpx"}
HEAVY |= {"rich", "duckdb", "tokenizers", "jinja2", "alembic"}

PROGRAM = """
import sys
from openhearth.cli import main
sys.argv[0] = "hearth"
try:
    main()
except SystemExit as left:
    print("MODULES", *{name.partition(".")[0] for name in sys.modules})
    sys.exit(left.code)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["models", "--help"], ["--version"], ["version"], []], ids=" ".join
)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if arguments else 2)
    loaded = set(done.stdout.rpartition("MODULES")[2].split())
    assert loaded & HEAVY == set()
    assert "openhearth" in loaded
