"""Token embeddings, looked up in whatever form the store keeps them."""

from __future__ import annotations

from torch import Tensor

from openhearth.models.layers.quantise import dequantise_rows


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
