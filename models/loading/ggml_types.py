"""The tensor types of GGUF files: their ids, and how many bytes a block of values takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class GgmlType(IntEnum):
    """Types that can be read. The ids are part of the file format."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    BF16 = 30


@dataclass(frozen=True, slots=True)
class BlockSize:
    """`values` consecutive values of a row are stored in `bytes` bytes."""

    values: int
    bytes: int


BLOCK_SIZES: dict[GgmlType, BlockSize] = {
    GgmlType.F32: BlockSize(1, 4),
    GgmlType.F16: BlockSize(1, 2),
    GgmlType.BF16: BlockSize(1, 2),
    # A float16 scale (and for the *_1 types a float16 minimum), high bits where there are five, then the low bits.
    GgmlType.Q4_0: BlockSize(32, 2 + 16),
    GgmlType.Q4_1: BlockSize(32, 2 + 2 + 16),
    GgmlType.Q5_0: BlockSize(32, 2 + 4 + 16),
    GgmlType.Q5_1: BlockSize(32, 2 + 2 + 4 + 16),
    GgmlType.Q8_0: BlockSize(32, 2 + 32),
    # Blocks of 256: two float16 factors over eight packed 6-bit scales and minima; Q6_K: one over 16 int8 scales.
    GgmlType.Q4_K: BlockSize(256, 2 + 2 + 12 + 128),
    GgmlType.Q5_K: BlockSize(256, 2 + 2 + 12 + 32 + 128),
    GgmlType.Q6_K: BlockSize(256, 128 + 64 + 16 + 2),
}

UNREADABLE_TYPES: dict[int, str] = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}
"""Types that exist and are named in the error, but are not read."""
