"""Conversion: the same model comes out, nothing half-done stays, progress and cancelling."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import random_ids, tiny_model

from openhearth.errors import CancelledError, DiskFullError, MalformedFileError, ModelUnavailableError
from openhearth.models.engine.engine import Engine
from openhearth.models.loading import convert as conversion
from openhearth.models.loading.calibration import CALIBRATION_TEXT, CALIBRATION_TOKENS
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import ModelStore, read_manifest


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_int8_with_outliers_keeps_the_model(architecture: str, tmp_path: Path) -> None:
    """Huge channels, as trained models have them: smoothing must deal with them and change nothing else."""
    model = tiny_model(tmp_path / "checkpoint", architecture, initializer_range=0.08)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.input_layernorm.weight[5] *= 60
            layer.mlp.up_proj.weight[7] *= 40
            layer.self_attn.v_proj.weight[3] *= 30
    model.save_pretrained(tmp_path / "checkpoint")
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="int8")
    engine = Engine.load(tmp_path / "store", device="cpu")
    ids = random_ids(150)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    found = engine.logits(ids).log_softmax(-1)
    engine.close()
    assert float((expected.exp() * (expected - found)).sum(-1).mean()) < 0.02


def test_models_of_many_channels_keep_more_of_some_activations_alone(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint", hidden_size=1056, num_hidden_layers=1)
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="int8")
    linears = ModelStore.open(tmp_path / "store").manifest.linears
    assert {name for name, kind in linears.items() if kind == "int8-wide"} == {"layers.0.down", "head"}
    assert {kind for name, kind in linears.items() if kind != "int8-wide"} == {"int8"}


def test_what_a_store_holds(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint", tie_word_embeddings=True)
    (tmp_path / "checkpoint" / "chat_template.jinja").write_text("{{ messages }}")
    convert(tmp_path / "checkpoint", tmp_path / "store", extra={"name": "tiny", "sha256": "ab"})
    store = ModelStore.open(tmp_path / "store")
    assert store.manifest.precision == "int8"
    assert set(store.manifest.linears.values()) == {"int8-wide"}
    assert store.manifest.source == "checkpoint"
    assert store.manifest.source_sha256 == "ab"
    assert store.manifest.extra == {"name": "tiny", "sha256": "ab"}
    assert store.tensors["embedding.weight"].dtype is torch.int8
    assert "head.weight" not in store.tensors
    assert store.chat_template() == "{{ messages }}"
    assert store.tokenizer().decode(store.tokenizer().encode("hé!").ids) == "hé!"
    assert store.config.layers == 3


def test_a_single_file_is_identified_by_its_hash(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "model.safetensors"
    convert(file, tmp_path / "store", precision="bfloat16")
    manifest = read_manifest(tmp_path / "store")
    assert manifest.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert manifest.source_bytes == file.stat().st_size


def test_conversion_repeats_itself(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    for name in ("a", "b"):
        convert(tmp_path / "checkpoint", tmp_path / name)
    first, second = (tmp_path / name / "weights.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_progress_counts_to_its_total(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    seen: list[tuple[str, int, int]] = []
    convert(tmp_path / "checkpoint", tmp_path / "store", progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, _, total in seen} == {5}


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    cancel = threading.Event()

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            cancel.set()

    with pytest.raises(CancelledError):
        convert(tmp_path / "checkpoint", tmp_path / "stores" / "tiny", progress=stop, cancel=cancel)
    assert list((tmp_path / "stores").iterdir()) == []


def test_an_old_store_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    store = tmp_path / "stores" / "tiny"
    convert(tmp_path / "checkpoint", store, precision="float32")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        convert(tmp_path / "checkpoint", store, cancel=cancel)
    assert read_manifest(store).precision == "float32"
    convert(tmp_path / "checkpoint", store)
    assert read_manifest(store).precision == "int8"
    assert [path.name for path in store.parent.iterdir()] == ["tiny"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(tmp_path / "checkpoint")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion, "write_safetensors", full)
    with pytest.raises(DiskFullError):
        convert(tmp_path / "checkpoint", tmp_path / "stores" / "tiny")
    assert list((tmp_path / "stores").iterdir()) == []


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError):
        convert(tmp_path / "nothing.gguf", tmp_path / "store")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 40)
    with pytest.raises(MalformedFileError):
        convert(tmp_path / "bad.gguf", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_calibration_text_makes_enough_tokens(smollm2_store: Path) -> None:
    ids = ModelStore.open(smollm2_store).tokenizer().encode(CALIBRATION_TEXT).ids
    assert CALIBRATION_TOKENS <= len(ids) < CALIBRATION_TOKENS * 1.2
