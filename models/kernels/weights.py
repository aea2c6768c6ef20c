"""Quantised weights in the store: one flat uint8 tensor for each linear, whose kind says what is in it.

A kind is `q4k:1536x8960`: the format, outputs and inputs. A linear that was fused from matrices of several formats
keeps them, `q4k:1792x1536+q6k:256x1536`, and its tensor holds the parts one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from openhearth.models.kernels.formats import KINDS, PANEL, SUPER, Kind, panel_bytes, panels_of, unpack

_PART = re.compile(r"({}):([1-9]\d{{0,9}})x([1-9]\d{{0,9}})".format("|".join(KINDS)))


class Part(NamedTuple):
    """A matrix [outputs, inputs] of one format, and where its panels begin in the tensor."""

    format: Kind
    outputs: int
    inputs: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its panels."""
        return panels_of(self.outputs) * panel_bytes(self.format, self.inputs)


def native_kind(formats: Sequence[tuple[Kind, int]], inputs: int) -> str:
    """The kind of a linear made of parts, each with its number of outputs."""
    return "+".join(f"{name}:{outputs}x{inputs}" for name, outputs in formats)


def is_native(kind: str) -> bool:
    """Whether `kind` is of this family; it may still be malformed."""
    return kind.startswith(tuple(f"{name}:" for name in KINDS))


def parts_of(kind: str) -> list[Part]:
    """Raises ValueError for a malformed kind: parts of unlike inputs, or whose outputs do not fill whole panels."""
    parts: list[Part] = []
    offset = 0
    for text in kind.split("+"):
        match = _PART.fullmatch(text)
        if match is None:
            raise ValueError(f"{kind!r} is no kind of weights")
        part = Part(cast(Kind, match[1]), int(match[2]), int(match[3]), offset)
        if part.format in ("q4k", "q6k") and part.inputs % SUPER:
            raise ValueError(f"{kind!r} has inputs that are no multiple of {SUPER}")
        if parts and (parts[-1].outputs % PANEL or parts[-1].inputs != part.inputs):
            raise ValueError(f"{kind!r} has parts that do not fit together")
        parts.append(part)
        offset += part.size
    return parts


def shape_of(kind: str) -> tuple[int, int]:
    """Outputs and inputs of the whole."""
    parts = parts_of(kind)
    return sum(part.outputs for part in parts), parts[0].inputs


def weight_bytes(kind: str) -> int:
    """The size of the tensor."""
    last = parts_of(kind)[-1]
    return last.offset + last.size


def share_of(kind: str, count: int) -> str:
    """The kind of one of `count` equal shares of the outputs; of other precisions, that precision."""
    if not is_native(kind):
        return kind
    (part,) = parts_of(kind)
    return native_kind([(part.format, part.outputs // count)], part.inputs)


def panels_in(weight: Tensor, part: Part) -> Tensor:
    """The part's panels [panels, bytes], in `weight`'s memory."""
    return weight[part.offset : part.offset + part.size].view(panels_of(part.outputs), -1)


def dequantise_panels(weight: Tensor, kind: str) -> Tensor:
    """The float32 weight [outputs, inputs]."""
    weight = weight.cpu()
    return torch.cat(
        [
            torch.from_numpy(unpack(panels_in(weight, part).numpy(), part.format, part.outputs, part.inputs))
            for part in parts_of(kind)
        ]
    )
