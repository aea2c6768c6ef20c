"""Reading tensors into memory of one's own: the same numbers, alive for as long as they are held."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from support.tiny import tiny_model

from openhearth.errors import MalformedFileError
from openhearth.models.loading import resident
from openhearth.models.loading.convert import convert
from openhearth.models.loading.resident import read_resident
from openhearth.models.loading.safetensors import SafetensorsFile, write_safetensors
from openhearth.models.loading.store import ModelStore


def test_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_PIECE", 1000)
    tensors = {"a": torch.randn(70, 33), "b": torch.arange(5000, dtype=torch.uint8), "none": torch.empty(0, 3)}
    write_safetensors(tmp_path / "x", tensors)
    with SafetensorsFile(tmp_path / "x") as file:
        found = read_resident(tmp_path / "x", file.tensors)
    gc.collect()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values() if tensor.numel())


def test_nothing_to_read(tmp_path: Path) -> None:
    assert read_resident(tmp_path / "x", {}) == {}


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {"a": torch.ones(100)})
    with SafetensorsFile(tmp_path / "x") as file:
        entries = dict(file.tensors)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-10])
    with pytest.raises(MalformedFileError):
        read_resident(tmp_path / "x", entries)


@pytest.mark.parametrize("tied", [True, False])
def test_a_store_in_memory_of_its_own(tied: bool, tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint", tie_word_embeddings=tied)
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="native")
    mapped, read = ModelStore.open(tmp_path / "store"), ModelStore.open(tmp_path / "store", resident=True)
    assert all(torch.equal(mapped.tensors[name], tensor) for name, tensor in read.tensors.items())
    assert mapped.tensors.keys() == read.tensors.keys()
