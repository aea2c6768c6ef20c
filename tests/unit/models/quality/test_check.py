"""From a reference to a verdict: what is fetched and made for it, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.tiny import tiny_model

from openhearth import paths
from openhearth.config import load_settings
from openhearth.errors import ConfigError
from openhearth.models.pull import pull
from openhearth.models.quality.check import check_model

SETTINGS = load_settings({"model": {"precision": "float32", "device": "cpu", "threads": 1}})


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    tiny_model(tmp_path / "checkpoint")
    return str(tmp_path / "checkpoint")


def test_a_model_that_was_never_converted_leaves_nothing_behind(checkpoint: str) -> None:
    said: list[str] = []
    report = check_model(checkpoint, SETTINGS, lambda what, *_: said.append(what), tokens=40)
    assert report.holds
    assert said[0] == "Converting the model"
    assert [path for path in paths.cache_dir().rglob("*") if path.suffix != ".lock" and path.is_file()] == []
    assert not paths.models_dir().exists()


def test_the_store_that_is_here_is_the_one_that_is_measured(checkpoint: str) -> None:
    store = pull(checkpoint, SETTINGS)
    file, manifest = store / "weights.safetensors", store / "manifest.json"
    size = file.stat().st_size
    tensors = load_file(file)
    tensors["layers.0.o.weight"] = -tensors["layers.0.o.weight"]
    save_file(tensors, file)
    manifest.write_text(manifest.read_text().replace(f": {size}", f": {file.stat().st_size}"))
    assert not check_model(checkpoint, SETTINGS, tokens=40).holds


@pytest.mark.parametrize("reference", ["minilm", "scripted:any.yaml", "http://127.0.0.1:1/v1#any"])
def test_what_has_no_original_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="compare"):
        check_model(reference, SETTINGS)


def test_a_store_by_itself_is_refused(checkpoint: str) -> None:
    store = pull(checkpoint, SETTINGS)
    with pytest.raises(ConfigError, match="made from"):
        check_model(str(store), SETTINGS)
