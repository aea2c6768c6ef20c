"""Every folder lies under HEARTH_HOME when that is set."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from openhearth import paths


@pytest.mark.parametrize(
    "folder", [paths.config_dir, paths.data_dir, paths.cache_dir, paths.state_dir, paths.models_dir]
)
def test_everything_lies_in_the_home(folder: object, hearth_home: Path) -> None:
    assert callable(folder)
    assert folder().is_relative_to(hearth_home)


def test_without_a_home_the_platform_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(paths.HOME_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert paths.data_dir() == tmp_path / "openhearth"


def test_private_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    made = paths.ensure_private(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
