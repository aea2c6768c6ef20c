"""Blocks of GGUF files arrive in the kernels' layout number for number, wherever the engine wants their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openhearth.models.kernels.formats import unpack
from openhearth.models.kernels.weights import dequantise_panels
from openhearth.models.loading.blocks import FORMATS, pack, parse_blocks, round_to_q8
from openhearth.models.loading.dequantise import dequantise
from openhearth.models.loading.ggml_types import BLOCK_SIZES, GgmlType
from openhearth.models.loading.repack import Repacker
from openhearth.models.loading.source import Blocks

_SCALES_AT = {
    GgmlType.Q4_0: [0],
    GgmlType.Q4_1: [0, 2],
    GgmlType.Q4_K: [0, 2],
    GgmlType.Q6_K: [208],
    GgmlType.Q8_0: [0],
}


def random_blocks(kind: GgmlType, outputs: int, inputs: int, seed: int = 0) -> Blocks:
    rng = np.random.default_rng(seed)
    size = BLOCK_SIZES[kind]
    raw = rng.integers(0, 256, (outputs, inputs // size.values, size.bytes), np.uint8)
    for at in _SCALES_AT[kind]:
        raw[..., at : at + 2] = rng.normal(0, 0.01, (*raw.shape[:2], 1)).astype("<f2").view(np.uint8)
    return Blocks(kind, raw.reshape(outputs, -1))


class Source:
    """The part of a TensorSource that a Repacker uses. What is no block is a float32 tensor."""

    def __init__(self, **tensors: Blocks | Tensor) -> None:
        self._tensors = tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.load(name).shape)

    def load(self, name: str) -> Tensor:
        held = self._tensors[name]
        if isinstance(held, Tensor):
            return held
        return torch.from_numpy(dequantise(held.rows.reshape(-1), held.type)).view(len(held.rows), -1)

    def blocks(self, name: str) -> Blocks | None:
        held = self._tensors[name]
        return held if isinstance(held, Blocks) else None


def repacker(**tensors: Blocks | Tensor) -> tuple[Repacker, Any]:
    source: Any = Source(**tensors)
    return Repacker(source), source


@pytest.mark.parametrize("kind", FORMATS)
def test_every_block_type_keeps_its_numbers(kind: GgmlType) -> None:
    blocks = random_blocks(kind, 37, 512)
    exact = dequantise(blocks.rows.reshape(-1), kind).reshape(37, 512)
    found = unpack(pack([parse_blocks(blocks.rows, kind)], FORMATS[kind]), FORMATS[kind], 37, 512)
    np.testing.assert_array_equal(found, exact)


def test_floats_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(20, 70)).astype(np.float32)
    weight[3] = 0
    found = unpack(pack([round_to_q8(weight)], "q8"), "q8", 20, 70)
    padded = np.pad(weight, ((0, 0), (0, 26))).reshape(20, 3, 32)
    step = np.abs(padded).max(2).repeat(32, 1)[:, :70] / 127
    assert np.all(np.abs(found - weight) <= step * 0.5 + np.abs(weight) * 1e-3)


def joined(names: Sequence[str], load: Any) -> Tensor:
    """The first matrix in another order, the others behind it."""
    first, *rest = map(load, names)
    return torch.cat([first.view(4, -1, first.shape[1]).transpose(0, 1).flatten(0, 1), *rest])


def test_rows_are_followed_through_the_layout() -> None:
    pack_rows, source = repacker(
        q=random_blocks(GgmlType.Q4_K, 32, 256, 1),
        k=random_blocks(GgmlType.Q4_K, 16, 256, 2),
        v=random_blocks(GgmlType.Q6_K, 16, 256, 3),
    )
    kind, weight = pack_rows.native(joined("qkv", pack_rows.load))
    assert kind == "q4k:48x256+q6k:16x256"
    assert torch.equal(dequantise_panels(weight, kind), joined("qkv", source.load))


def test_parts_that_fill_no_panels_become_eight_bits() -> None:
    pack_rows, source = repacker(
        q=random_blocks(GgmlType.Q4_1, 8, 64, 1), k=random_blocks(GgmlType.Q8_0, 16, 64, 2), v=torch.randn(3, 64)
    )
    kind, weight = pack_rows.native(joined("qkv", pack_rows.load))
    assert kind == "q8:27x64"
    torch.testing.assert_close(dequantise_panels(weight, kind), joined("qkv", source.load), atol=0.02, rtol=0.02)


def test_floats_of_rows() -> None:
    pack_rows, source = repacker(a=torch.randn(3, 8, 5), b=random_blocks(GgmlType.Q8_0, 4, 32))
    numbers = pack_rows.load("a").flip(0)
    assert torch.equal(pack_rows.floats(numbers), source.load("a").flip(0).flatten(0, 1))
    pack_rows.forget()
    assert torch.equal(pack_rows.floats(pack_rows.load("b")), source.load("b"))


def test_vectors_pass_as_they_are() -> None:
    pack_rows, _ = repacker(v=torch.arange(5.0))
    assert torch.equal(pack_rows.load("v"), torch.arange(5.0))


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.001, 2.0, -1.0])
def test_a_layout_that_computes_is_found_out(factor: float) -> None:
    pack_rows, _ = repacker(a=torch.randn(4, 32))
    numbers = pack_rows.load("a")
    with pytest.raises(ValueError, match="only move"):
        pack_rows.native(numbers * factor)
