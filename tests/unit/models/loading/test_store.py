"""Damaged and foreign stores are refused with an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import tiny_model

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.engine.engine import Engine
from openhearth.models.loading.convert import convert
from openhearth.models.loading.safetensors import write_safetensors
from openhearth.models.loading.store import ModelStore, read_manifest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "checkpoint", tie_word_embeddings=True)
    convert(tmp_path / "checkpoint", tmp_path / "store")
    return tmp_path / "store"


def change(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_no_store(tmp_path: Path) -> None:
    for ask in (ModelStore.open, read_manifest, Engine.load):
        with pytest.raises(ModelUnavailableError) as caught:
            ask(tmp_path / "nothing")
        assert caught.value.hint


def test_another_format_version(store: Path) -> None:
    change(store / "manifest.json", lambda m: m.update(format_version=99))
    with pytest.raises(ModelUnavailableError, match="99"):
        ModelStore.open(store)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("linears"),
        lambda m: m.update(precision="int3"),
        lambda m: m.update(surprise=1),
        lambda m: m["linears"].pop("layers.1.o"),
        lambda m: m["linears"].update(other="int8"),
        lambda m: m["linears"].update({"layers.1.o": "float32"}),
        lambda m: m["linears"].update(head="float32"),
        lambda m: m.update(weights_bytes=m["weights_bytes"] + 1),
    ],
)
def test_a_manifest_that_does_not_fit(store: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    change(store / "manifest.json", edit)
    with pytest.raises(MalformedFileError) as caught:
        ModelStore.open(store)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "tokenizer.json", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"{}"])
def test_damaged_files(store: Path, name: str, content: bytes) -> None:
    (store / name).write_bytes(content)
    with pytest.raises(MalformedFileError):
        ModelStore.open(store).tokenizer()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "weights.safetensors"])
def test_missing_files(store: Path, name: str) -> None:
    (store / name).unlink()
    with pytest.raises(MalformedFileError):
        ModelStore.open(store).tokenizer()


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: t.pop("layers.2.mlp_norm.weight"),
        lambda t: t.pop("layers.2.o.scale"),
        lambda t: t.update({"extra.weight": torch.zeros(3)}),
        lambda t: t.update({"norm.weight": torch.zeros(7)}),
        lambda t: t.update({"norm.weight": t["norm.weight"].double()}),
        lambda t: t.update({"layers.0.qkv.weight": t["layers.0.qkv.weight"].float()}),
    ],
)
def test_wrong_tensors(store: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in ModelStore.open(store).tensors.items()}
    edit(tensors)
    write_safetensors(store / "weights.safetensors", tensors)
    size = (store / "weights.safetensors").stat().st_size
    change(store / "manifest.json", lambda m: m.update(weights_bytes=size))
    with pytest.raises(MalformedFileError, match=r"weights\.safetensors"):
        ModelStore.open(store)


def test_tensors_outlive_their_store(store: Path) -> None:
    tensors = ModelStore.open(store).tensors
    assert int(tensors["embedding.weight"].abs().max()) == 127
