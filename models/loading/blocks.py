"""From GGUF's blocks to the kernels' panels, number for number.

What the kernels have no format for (floating types, and 5 bits) is rounded to 8 bits in groups of 32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openhearth.models.kernels.formats import (
    GROUP,
    Bytes,
    Floats,
    Kind,
    pack_q4,
    pack_q4k,
    pack_q6k,
    pack_q8,
)
from openhearth.models.loading.ggml_types import BLOCK_SIZES, GgmlType

FORMATS: dict[GgmlType, Kind] = {
    GgmlType.Q4_0: "q4",
    GgmlType.Q4_1: "q4",
    GgmlType.Q4_K: "q4k",
    GgmlType.Q6_K: "q6k",
    GgmlType.Q8_0: "q8",
}
"""The types that are kept as they are, and the format that takes them."""

Parsed = tuple[np.ndarray[Any, np.dtype[Any]], ...]
"""What the format's `pack` function takes, each with the outputs as its first dimension."""


def parse_blocks(rows: Bytes, kind: GgmlType) -> Parsed:
    """`rows` [outputs, bytes of a row] of one of `FORMATS`."""
    block = BLOCK_SIZES[kind].bytes
    blocks = rows.reshape(len(rows), -1, block)
    match kind:
        case GgmlType.Q4_0:
            d = _halves(blocks[..., :2])
            return _nibbles(blocks[..., 2:]), d, (d * np.float16(-8)).astype("<f2")
        case GgmlType.Q4_1:
            return _nibbles(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4])
        case GgmlType.Q4_K:
            scales, minima = _six_bits(blocks[..., 4:16])
            q = _nibbles(blocks[..., 16:].reshape(len(rows), -1, 32))
            return q, _halves(blocks[..., :2]), -_halves(blocks[..., 2:4]), scales, minima
        case GgmlType.Q6_K:
            return _q6_values(blocks), _halves(blocks[..., 208:]), _flat(blocks[..., 192:208]).view(np.int8)
        case _:
            return _flat(blocks[..., 2:]) ^ np.uint8(128), _halves(blocks[..., :2])


def round_to_q8(weight: Floats) -> Parsed:
    """`weight` [outputs, inputs] in groups of 32 with the largest value at 127 or -127."""
    outputs, inputs = weight.shape
    groups = -(-inputs // GROUP)
    if inputs % GROUP:
        weight = np.pad(weight, ((0, 0), (0, groups * GROUP - inputs)))
    grouped = weight.reshape(outputs, groups, GROUP)
    d = (np.abs(grouped).max(axis=2) / 127).astype("<f2")
    step = d.astype(np.float32)
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step > 0)
    q = np.clip(np.rint(grouped * inverse[..., None]), -127, 127) + 128
    return q.astype(np.uint8).reshape(outputs, -1)[:, :inputs], d


def pack(parts: list[Parsed], name: Kind) -> Bytes:
    """Panels [panels, bytes] of the parts' outputs one after the other."""
    joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    match name:
        case "q4":
            return pack_q4(*joined)
        case "q4k":
            return pack_q4k(*joined)
        case "q6k":
            return pack_q6k(*joined)
        case "q8":
            return pack_q8(*joined)


def _nibbles(packed: Bytes) -> Bytes:
    """[outputs, blocks, n] with values 0 to n - 1 in the low halves and n to 2n - 1 in the high ones."""
    return _flat(np.concatenate([packed & 15, packed >> 4], axis=2))


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The scales and minima [outputs, blocks * 8] of Q4_K; see dequantise.py."""
    first, second, rest = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scales = np.concatenate([first & 63, rest & 15 | first >> 2 & 48], axis=2)
    minima = np.concatenate([second & 63, rest >> 4 | second >> 2 & 48], axis=2)
    return _flat(scales), _flat(minima)


def _q6_values(blocks: Bytes) -> Bytes:
    outputs = len(blocks)
    low = blocks[..., :128].reshape(outputs, -1, 2, 64)
    high = blocks[..., 128:192].reshape(outputs, -1, 2, 1, 32) >> np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    values = np.stack([low & 15, low >> 4], axis=3).reshape(outputs, -1, 2, 4, 32)
    values |= (high & 3) << 4
    return values.reshape(outputs, -1)


def _halves(columns: Bytes) -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.ascontiguousarray(columns).view("<f2")[..., 0]


def _flat(values: Bytes) -> Bytes:
    return np.ascontiguousarray(values).reshape(len(values), -1)
