"""From GGUF's block formats to float32, bit for bit as ggml does it.

Formats: `ggml-quants.c` of llama.cpp, and its Python rendering in the `gguf` package. Each function takes blocks
`[n, bytes]` (uint8) and fills `out` `[n, values]` (float32). Products and sums are separate operations on purpose:
a fused multiply-add would round once instead of twice and differ in the last bit.

NumPy, and not torch, because torch spreads each of these small operations over its threads and waits for all of them:
on a busy machine that is twenty times slower. One core converts some 500 million values a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from openhearth.models.loading.ggml_types import BLOCK_SIZES, GgmlType

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

_CHUNK_VALUES = 1 << 19
"""Values converted at a time, so that the temporaries stay in cache."""


def dequantise(raw: Bytes, kind: GgmlType) -> Floats:
    """Convert whole blocks, `raw` of one dimension, to a new array of one dimension."""
    if kind is GgmlType.F32:
        return raw.view("<f4").astype(np.float32)
    if kind is GgmlType.F16:
        return raw.view("<f2").astype(np.float32)
    if kind is GgmlType.BF16:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    block = BLOCK_SIZES[kind]
    blocks = raw.reshape(-1, block.bytes)
    out = np.empty((len(blocks), block.values), np.float32)
    step = _CHUNK_VALUES // block.values
    # Infinite and undefined scales are the file's business; the values come out as they are stored.
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            _BLOCKS[kind](blocks[start : start + step], out[start : start + step])
    return out.reshape(-1)


def _q4_0(blocks: Bytes, out: Floats) -> None:
    _low_bits(blocks[:, 2:], out)
    out -= 8
    out *= _halves(blocks[:, :2])


def _q4_1(blocks: Bytes, out: Floats) -> None:
    _low_bits(blocks[:, 4:], out)
    out *= _halves(blocks[:, :2])
    out += _halves(blocks[:, 2:4])


def _q5_0(blocks: Bytes, out: Floats) -> None:
    _low_bits(blocks[:, 6:], out)
    out += _fifth_bits(blocks[:, 2:6])
    out -= 16
    out *= _halves(blocks[:, :2])


def _q5_1(blocks: Bytes, out: Floats) -> None:
    _low_bits(blocks[:, 8:], out)
    out += _fifth_bits(blocks[:, 4:8])
    out *= _halves(blocks[:, :2])
    out += _halves(blocks[:, 2:4])


def _q8_0(blocks: Bytes, out: Floats) -> None:
    np.multiply(blocks[:, 2:].view(np.int8), _halves(blocks[:, :2]), out=out)


def _q4_k(blocks: Bytes, out: Floats) -> None:
    n = len(blocks)
    scales, minima = _scales_and_minima(blocks)
    low = blocks[:, 16:].reshape(n, 4, 32)
    values = out.reshape(n, 4, 2, 32)
    values[:, :, 0] = low & 15
    values[:, :, 1] = low >> 4
    values *= scales.reshape(n, 4, 2, 1)
    values -= minima.reshape(n, 4, 2, 1)


def _q5_k(blocks: Bytes, out: Floats) -> None:
    n = len(blocks)
    scales, minima = _scales_and_minima(blocks)
    high = blocks[:, 16:48]
    low = blocks[:, 48:].reshape(n, 4, 32)
    values = out.reshape(n, 4, 2, 32)
    # Bit i of the 32 high bytes belongs to the i-th run of 32 values.
    for pair in range(4):
        values[:, pair, 0] = low[:, pair] & 15 | (high >> 2 * pair & 1) << 4
        values[:, pair, 1] = low[:, pair] >> 4 | (high >> 2 * pair + 1 & 1) << 4
    values *= scales.reshape(n, 4, 2, 1)
    values -= minima.reshape(n, 4, 2, 1)


def _q6_k(blocks: Bytes, out: Floats) -> None:
    n = len(blocks)
    low = blocks[:, :128].reshape(n, 2, 64)
    high = blocks[:, 128:192].reshape(n, 2, 32)
    # Each half of 128 values: 64 low nibbles, 64 high nibbles, and above them two bits of every value.
    bits = np.empty((n, 2, 4, 32), np.uint8)
    bits[:, :, :2] = (low & 15).reshape(n, 2, 2, 32)
    bits[:, :, 2:] = (low >> 4).reshape(n, 2, 2, 32)
    bits[:, :, 0] |= (high & 3) << 4
    bits[:, :, 1] |= (high & 12) << 2
    bits[:, :, 2] |= high & 48
    bits[:, :, 3] |= high >> 2 & 48
    signed = bits.view(np.int8).reshape(n, 16, 16)
    signed -= 32
    scales = _halves(blocks[:, 208:]) * blocks[:, 192:208].view(np.int8)
    np.multiply(signed, scales.reshape(n, 16, 1), out=out.reshape(n, 16, 16))


def _scales_and_minima(blocks: Bytes) -> tuple[Floats, Floats]:
    """The eight scales and minima of each Q4_K or Q5_K block, `[n, 8]` each.

    Twelve bytes hold eight 6-bit scales and eight 6-bit minima: bytes 0-3 scales 0-3, bytes 4-7 minima 0-3, bytes
    8-11 the low four bits of scales 4-7 and of minima 4-7, whose upper two bits top the first eight bytes.
    """
    packed = blocks[:, 4:16].reshape(-1, 3, 4)
    first_scales, first_minima, rest = packed[:, 0], packed[:, 1], packed[:, 2]
    scales = np.concatenate([first_scales & 63, rest & 15 | first_scales >> 2 & 48], axis=1)
    minima = np.concatenate([first_minima & 63, rest >> 4 | first_minima >> 2 & 48], axis=1)
    return _halves(blocks[:, :2]) * scales, _halves(blocks[:, 2:4]) * minima


def _low_bits(packed: Bytes, out: Floats) -> None:
    """Sixteen bytes hold values 0-15 in their low and 16-31 in their high halves."""
    out[:, :16] = packed & 15
    out[:, 16:] = packed >> 4


def _fifth_bits(packed: Bytes) -> Bytes:
    """Four bytes hold the fifth bit of 32 values, the first value's lowest; as 0 or 16."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _halves(columns: Bytes) -> Floats:
    """Two bytes of each block as one float16, widened: `[n, 1]`."""
    return np.ascontiguousarray(columns).view("<f2").astype(np.float32)


_BLOCKS: dict[GgmlType, Callable[[Bytes, Floats], None]] = {
    GgmlType.Q4_0: _q4_0,
    GgmlType.Q4_1: _q4_1,
    GgmlType.Q5_0: _q5_0,
    GgmlType.Q5_1: _q5_1,
    GgmlType.Q8_0: _q8_0,
    GgmlType.Q4_K: _q4_k,
    GgmlType.Q5_K: _q5_k,
    GgmlType.Q6_K: _q6_k,
}
