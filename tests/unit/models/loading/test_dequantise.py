from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest

from openhearth.models.loading.dequantise import dequantise
from openhearth.models.loading.ggml_types import BLOCK_SIZES, GgmlType

HALF_OFFSETS: dict[GgmlType, tuple[int, ...]] = {
    GgmlType.Q4_0: (0,),
    GgmlType.Q4_1: (0, 2),
    GgmlType.Q5_0: (0,),
    GgmlType.Q5_1: (0, 2),
    GgmlType.Q8_0: (0,),
    GgmlType.Q4_K: (0, 2),
    GgmlType.Q5_K: (0, 2),
    GgmlType.Q6_K: (208,),
}
"""Where each block keeps its float16 numbers."""

EXTREME_HALVES = np.array(
    [0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0, np.inf, -np.inf, np.nan], np.float16
).view(np.uint8)


def reference(raw: np.ndarray[Any, Any], kind: GgmlType) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        values = gguf.dequantize(raw, gguf.GGMLQuantizationType(int(kind)))
    return np.ascontiguousarray(values, np.float32).reshape(-1)


def assert_same_bits(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert ours.dtype == theirs.dtype == np.float32
    # Which bits an undefined value has, IEEE 754 leaves open.
    undefined = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), undefined)
    np.testing.assert_array_equal(ours.view(np.uint32)[~undefined], theirs.view(np.uint32)[~undefined])


def test_every_readable_type_has_the_reference_block_size() -> None:
    for kind in GgmlType:
        block = BLOCK_SIZES[kind]
        assert (block.values, block.bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(int(kind))]
        assert gguf.GGMLQuantizationType(int(kind)).name == kind.name


@pytest.mark.parametrize("kind", list(GgmlType), ids=lambda kind: kind.name)
def test_random_blocks_bit_for_bit(kind: GgmlType) -> None:
    rng = np.random.default_rng(int(kind))
    # More than one chunk, and a last one that is not full.
    blocks = (1 << 19) // BLOCK_SIZES[kind].values + 77
    raw = rng.integers(0, 256, (blocks, BLOCK_SIZES[kind].bytes), np.uint8)
    assert_same_bits(dequantise(raw.reshape(-1), kind), reference(raw, kind))


@pytest.mark.parametrize("kind", HALF_OFFSETS, ids=lambda kind: kind.name)
def test_extreme_scales_bit_for_bit(kind: GgmlType) -> None:
    rng = np.random.default_rng(int(kind))
    extremes = EXTREME_HALVES.reshape(-1, 2)
    raw = rng.integers(0, 256, (len(extremes) ** 2, BLOCK_SIZES[kind].bytes), np.uint8)
    for position, offset in enumerate(HALF_OFFSETS[kind]):
        order = np.arange(len(raw)) // len(extremes) ** position % len(extremes)
        raw[:, offset : offset + 2] = extremes[order]
    assert_same_bits(dequantise(raw.reshape(-1), kind), reference(raw, kind))


@pytest.mark.parametrize("bits", [0x00, 0xFF, 0x0F, 0xF0, 0x55])
@pytest.mark.parametrize("kind", HALF_OFFSETS, ids=lambda kind: kind.name)
def test_uniform_blocks_bit_for_bit(kind: GgmlType, bits: int) -> None:
    raw = np.full((3, BLOCK_SIZES[kind].bytes), bits, np.uint8)
    for offset in HALF_OFFSETS[kind]:
        raw[:, offset : offset + 2] = np.array([0.37], np.float16).view(np.uint8)
    assert_same_bits(dequantise(raw.reshape(-1), kind), reference(raw, kind))


@pytest.mark.parametrize("kind", [GgmlType.Q4_0, GgmlType.Q4_1, GgmlType.Q5_0, GgmlType.Q5_1, GgmlType.Q8_0])
def test_quantised_weights_come_back_close(kind: GgmlType) -> None:
    weights = np.random.default_rng(1).standard_normal((16, 256), np.float32)
    raw = gguf.quantize(weights, gguf.GGMLQuantizationType(int(kind)))
    values = dequantise(np.ascontiguousarray(raw).view(np.uint8).reshape(-1), kind).reshape(weights.shape)
    assert np.abs(values - weights).max() < 0.4
    assert np.corrcoef(values.ravel(), weights.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", list(GgmlType), ids=lambda kind: kind.name)
def test_reads_bytes_that_lie_anywhere(kind: GgmlType) -> None:
    rng = np.random.default_rng(3)
    size = BLOCK_SIZES[kind].bytes * 4
    odd = rng.integers(0, 128, size + 1, np.uint8)[1:]
    odd.flags.writeable = False
    assert_same_bits(dequantise(odd, kind), dequantise(odd.copy(), kind))
