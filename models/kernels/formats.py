"""The layouts of quantised weights that the native kernels read, made from plain arrays and turned back into float32.

A weight [outputs, inputs] is cut into panels of 16 outputs (the last one filled up with zeros), stored as uint8
[panels, bytes of a panel]. A panel holds its groups of 32 inputs in order. The quantised values of a group lie as eight
quads of four inputs by 16 outputs by 4 inputs, `[8][16][4]`, because one instruction multiplies and adds four inputs of
16 outputs. Two quads of 4 bits share 64 bytes: quad i in the low and quad i + 4 in the high halves.

    kind  value                      a panel holds
    q4    d * q + m                  for each 32 inputs: f16 d[16], f16 m[16], 256 bytes of q
    q4k   d * scale * q + m * least  for each 256 inputs: f16 d[16], f16 m[16], then eight times u8 scale[16],
                                     u8 least[16], then eight times 256 bytes of q
    q6k   d * scale * (q - 32)       for each 256 inputs: f16 d[16], 32 bytes of nothing, sixteen times i8 scale[16],
                                     then eight times 256 bytes of q's low 4 bits and 128 of its high 2
    q8    d * (q - 128)              f16 d[groups][16], filled up to 64 bytes, then 512 bytes of q for each 32 inputs

They hold what GGUF's blocks hold, number for number: q4 takes Q4_0 and Q4_1, q4k Q4_K, q6k Q6_K, q8 Q8_0.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Array = np.ndarray[Any, Any]
Kind = Literal["q4", "q4k", "q6k", "q8"]

KINDS: tuple[Kind, ...] = ("q4", "q4k", "q6k", "q8")
PANEL, GROUP, SUPER = 16, 32, 256


def panels_of(outputs: int) -> int:
    return -(-outputs // PANEL)


def panel_bytes(kind: Kind, inputs: int) -> int:
    groups = -(-inputs // GROUP)
    match kind:
        case "q4":
            return groups * 320
        case "q4k":
            return inputs // SUPER * 2368
        case "q6k":
            return inputs // SUPER * 3392
        case "q8":
            return -(-groups * 32 // 64) * 64 + groups * 512


def pack_q4(q: Bytes, d: Array, m: Array) -> Bytes:
    """q [outputs, inputs] of 0 to 15; d and m float16 [outputs, inputs / 32]."""
    p, groups = panels_of(len(q)), d.shape[1]
    out = np.empty((p, groups, 320), np.uint8)
    out[:, :, :32] = _columns(d, p).view(np.uint8).reshape(p, groups, 32)
    out[:, :, 32:64] = _columns(m, p).view(np.uint8).reshape(p, groups, 32)
    out[:, :, 64:] = _nibbles(_quads(q, p))
    return out.reshape(p, -1)


def pack_q4k(q: Bytes, d: Array, m: Array, scale: Bytes, least: Bytes) -> Bytes:
    """q [outputs, inputs] of 0 to 15; d, m float16 [outputs, inputs / 256]; scale, least [outputs, inputs / 32]."""
    p, supers = panels_of(len(q)), d.shape[1]
    out = np.empty((p, supers, 2368), np.uint8)
    out[:, :, :32] = _columns(d, p).view(np.uint8).reshape(p, supers, 32)
    out[:, :, 32:64] = _columns(m, p).view(np.uint8).reshape(p, supers, 32)
    scales = out[:, :, 64:320].reshape(p, supers, 8, 2, PANEL)
    scales = np.stack([_columns(scale, p), _columns(least, p)], axis=2)
    out[:, :, 64:320] = scales.reshape(p, supers, 256)
    out[:, :, 320:] = _nibbles(_quads(q, p)).reshape(p, supers, 2048)
    return out.reshape(p, -1)


def pack_q6k(q: Bytes, d: Array, scale: Array) -> Bytes:
    """q [outputs, inputs] of 0 to 63; d float16 [outputs, inputs / 256]; scale int8 [outputs, inputs / 16]."""
    p, supers = panels_of(len(q)), d.shape[1]
    out = np.zeros((p, supers, 3392), np.uint8)
    out[:, :, :32] = _columns(d, p).view(np.uint8).reshape(p, supers, 32)
    out[:, :, 64:320] = _columns(scale, p).view(np.uint8).reshape(p, supers, 256)
    quads = _quads(q, p)
    values = out[:, :, 320:].reshape(p, supers, 8, 384)
    values[..., :256] = _nibbles(quads & np.uint8(15)).reshape(p, supers, 8, 256)
    high = (quads >> 4).reshape(p, supers, 8, 2, 4, 64)
    high <<= np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    values[..., 256:] = np.bitwise_or.reduce(high, axis=4).reshape(p, supers, 8, 128)
    out[:, :, 320:] = values.reshape(p, supers, -1)
    return out.reshape(p, -1)


def pack_q8(q: Bytes, d: Array) -> Bytes:
    """q [outputs, inputs] of 0 to 255, 128 being zero; d float16 [outputs, inputs / 32]."""
    p, groups = panels_of(len(q)), d.shape[1]
    start = -(-groups * 32 // 64) * 64
    out = np.zeros((p, panel_bytes("q8", q.shape[1])), np.uint8)
    out[:, : groups * 32] = _columns(d, p).view(np.uint8).reshape(p, -1)
    out[:, start:] = _quads(q, p).reshape(p, -1)
    return out


def unpack(panels: Bytes, kind: Kind, outputs: int, inputs: int) -> Floats:
    """The float32 weight [outputs, inputs]."""
    p, groups = len(panels), -(-inputs // GROUP)
    match kind:
        case "q4":
            raw = panels.reshape(p, groups, 320)
            values = _both_halves(raw[:, :, 64:]) * _halves(raw[:, :, :32])[:, :, None, :, None]
            values += _halves(raw[:, :, 32:64])[:, :, None, :, None]
        case "q4k":
            raw = panels.reshape(p, -1, 2368)
            scales = raw[:, :, 64:320].reshape(p, -1, 8, 2, PANEL).astype(np.float32)
            scale = (scales[..., 0, :] * _halves(raw[:, :, :32])[:, :, None]).reshape(p, groups, 1, PANEL, 1)
            least = (scales[..., 1, :] * _halves(raw[:, :, 32:64])[:, :, None]).reshape(p, groups, 1, PANEL, 1)
            values = _both_halves(raw[:, :, 320:].reshape(p, groups, 256)) * scale + least
        case "q6k":
            raw = panels.reshape(p, -1, 3392)
            scale = raw[:, :, 64:320].view(np.int8).reshape(p, -1, 16, PANEL) * _halves(raw[:, :, :32])[:, :, None]
            parts = raw[:, :, 320:].reshape(p, groups, 384)
            high = parts[..., 256:].reshape(p, groups, 2, 1, 64) >> np.arange(0, 8, 2, dtype=np.uint8)[:, None]
            values = _both_halves(parts[..., :256]) + (high & 3).reshape(p, groups, 8, PANEL, 4) * np.float32(16)
            values -= 32
            values *= scale.reshape(p, groups, 2, PANEL).repeat(4, axis=2)[..., None]
        case "q8":
            start = -(-groups * 32 // 64) * 64
            values = panels[:, start:].reshape(p, groups, 8, PANEL, 4).astype(np.float32) - 128
            values *= _halves(panels[:, : groups * 32].reshape(p, groups, 32))[:, :, None, :, None]
    return values.transpose(0, 3, 1, 2, 4).reshape(p * PANEL, -1)[:outputs, :inputs]


def _columns(rows: Array, panels: int) -> Array:
    """[outputs, n] as [panels, n, 16]."""
    padded = np.zeros((panels * PANEL, rows.shape[1]), rows.dtype)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(panels, PANEL, -1).transpose(0, 2, 1))


def _quads(q: Bytes, panels: int) -> Bytes:
    """[outputs, inputs] as [panels, groups, 8, 64]."""
    outputs, inputs = q.shape
    groups = -(-inputs // GROUP)
    if outputs % PANEL or inputs % GROUP:
        q = np.pad(q, ((0, panels * PANEL - outputs), (0, groups * GROUP - inputs)))
    return np.ascontiguousarray(q.reshape(panels, PANEL, groups, 8, 4).transpose(0, 2, 3, 1, 4)).reshape(
        panels, groups, 8, 64
    )


def _nibbles(quads: Bytes) -> Bytes:
    """[panels, groups, 8, 64] as [panels, groups, 256]."""
    return (quads[:, :, :4] | quads[:, :, 4:] << np.uint8(4)).reshape(*quads.shape[:2], 256)


def _both_halves(nibbles: Bytes) -> Floats:
    """[panels, groups, 256] as float32 [panels, groups, 8, 16, 4]."""
    shape = (*nibbles.shape[:2], 8, PANEL, 4)
    return np.concatenate([nibbles & 15, nibbles >> 4], axis=2).reshape(shape).astype(np.float32)


def _halves(raw: Bytes) -> Floats:
    """[..., 32] bytes as 16 floats."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)
