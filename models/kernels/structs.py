"""The structures of hearth.h, as ctypes sees them."""

from __future__ import annotations

import ctypes
from typing import ClassVar

_POINTER, _WIDE, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class Matrix(ctypes.Structure):
    """`matrix`."""

    _fields_: ClassVar = [
        ("panels", _POINTER),
        ("bias", _POINTER),
        ("panel_bytes", _WIDE),
        ("kind", _NUMBER),
        ("inputs", _NUMBER),
        ("outputs", _NUMBER),
        ("unused", _NUMBER),
    ]


class LayerStruct(ctypes.Structure):
    """`decoder_layer`."""

    _fields_: ClassVar = [
        ("attention_norm", _POINTER),
        ("mlp_norm", _POINTER),
        ("qkv", ctypes.POINTER(Matrix)),
        ("qkv_parts", _WIDE),
        ("o", Matrix),
        ("up", Matrix),
        ("gate", Matrix),
        ("down", Matrix),
    ]


class DecoderStruct(ctypes.Structure):
    """`decoder`."""

    _fields_: ClassVar = [
        ("layers", ctypes.POINTER(LayerStruct)),
        ("embedding", Matrix),
        ("head", Matrix),
        ("norm", _POINTER),
        ("turns", _POINTER),
        ("layer_count", _NUMBER),
        ("hidden", _NUMBER),
        ("heads", _NUMBER),
        ("kv_heads", _NUMBER),
        ("size", _NUMBER),
        ("inner", _NUMBER),
        ("eps", _REAL),
        ("scale", _REAL),
        ("multiplier", _REAL),
        ("unused", _NUMBER),
    ]


class StepStruct(ctypes.Structure):
    """`decoder_step`."""

    _fields_: ClassVar = [
        ("ids", _POINTER),
        ("slots", _POINTER),
        ("wanted", _POINTER),
        ("positions", _POINTER),
        ("sequences", _POINTER),
        ("tables", _POINTER),
        ("keys", _POINTER),
        ("values", _POINTER),
        ("layer_stride", _WIDE),
        ("head_stride", _WIDE),
        ("block_stride", _WIDE),
        ("rows", _WIDE),
        ("wanted_count", _WIDE),
        ("widest", _WIDE),
        ("logits", _POINTER),
    ]
