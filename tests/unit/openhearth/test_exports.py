"""The front door: what it exports, and that opening it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import openhearth

HEAVY = ("torch", "transformers", "langgraph", "textual", "sqlmodel", "sqlalchemy", "alembic", "tokenizers", "duckdb")


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_every_export_resolves() -> None:
    for name in openhearth.__all__:
        assert getattr(openhearth, name) is not None


def test_dir_lists_the_exports() -> None:
    assert dir(openhearth) == sorted(openhearth.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Agnet"):
        _ = openhearth.Agnet


def test_the_root_imports_nothing_heavy() -> None:
    assert not loaded_after("import openhearth") & set(HEAVY)


def test_types_events_errors_and_settings_import_nothing_heavy() -> None:
    code = "import openhearth.types, openhearth.events, openhearth.errors, openhearth.config, openhearth.paths"
    assert not loaded_after(code) & set(HEAVY)
