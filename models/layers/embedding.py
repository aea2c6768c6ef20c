"""Token embeddings, looked up in whatever form the store keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from openhearth.models.device_policy import place_weight
from openhearth.models.kernels.weights import is_native
from openhearth.models.layers.linear import LinearKind
from openhearth.models.layers.native import NativeEmbedding
from openhearth.models.layers.quantise import dequantise_rows


class Embed(Protocol):
    """Rows of the embedding for `ids` (int64 [rows]), a new float32 tensor [rows, size]."""

    def __call__(self, ids: Tensor) -> Tensor: ...


def build_embedding(
    tensors: Mapping[str, Tensor], kind: LinearKind, device: torch.device, multiplier: float = 1.0
) -> Embed:
    """The embedding from its stored tensors; its rows come multiplied."""
    weight, scale = tensors["embedding.weight"], tensors.get("embedding.scale")
    if is_native(kind):
        return NativeEmbedding(weight, kind, device, multiplier)
    arguments = (place_weight(weight, device), None if scale is None else scale.to(device))
    return Embedding(*arguments) if multiplier == 1.0 else ScaledEmbedding(*arguments, multiplier)


class Embedding:
    """Rows of `weight` [vocabulary, size] as float32; int8 rows are multiplied by their `scale` [vocabulary]."""

    __slots__ = ("scale", "weight")

    def __init__(self, weight: Tensor, scale: Tensor | None = None) -> None:
        self.weight = weight
        self.scale = scale

    def __call__(self, ids: Tensor) -> Tensor:
        """`ids` is int64 [rows]; gives a new tensor [rows, size]."""
        rows = self.weight[ids]
        return rows.float() if self.scale is None else dequantise_rows(rows, self.scale[ids])


class ScaledEmbedding(Embedding):
    """Rows times `multiplier`."""

    __slots__ = ("multiplier",)

    def __init__(self, weight: Tensor, scale: Tensor | None, multiplier: float) -> None:
        super().__init__(weight, scale)
        self.multiplier = multiplier

    def __call__(self, ids: Tensor) -> Tensor:
        return super().__call__(ids).mul_(self.multiplier)
