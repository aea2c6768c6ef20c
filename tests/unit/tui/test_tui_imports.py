"""The first screen must not wait for anything heavy, and styles must travel with the code."""

import subprocess
import sys
from pathlib import Path

import openhearth.tui
from openhearth.tui.app import HearthApp

HEAVY = ("torch", "transformers", "langgraph", "sqlmodel", "sqlalchemy", "duckdb", "openhearth.agents.runtime")


def test_the_app_imports_nothing_heavy() -> None:
    code = f"import sys, openhearth.tui.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_style_sheet_stands_beside_a_module_and_is_loaded() -> None:
    root = Path(openhearth.tui.__file__).parent
    sheets = sorted(root.rglob("*.tcss"))
    assert sheets
    assert [Path(str(path)) for path in HearthApp.CSS_PATH] == sheets
    assert all(sheet.with_suffix(".py").is_file() for sheet in sheets)
