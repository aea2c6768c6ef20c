"""RMSNorm, split in two so that the linear behind it does half of the work."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.layers.linear import RowScale


class RMSNorm:
    """`x * rsqrt(mean(x^2) + eps) * weight`, given as the pair `(x * weight, rsqrt(…))`.

    The second is a factor per row, which a linear applies to its result for free (`Linear.__call__`). For one row it
    is a plain float: `F.rms_norm` takes ten small kernels on the CPU, this takes two.
    """

    __slots__ = ("eps", "size", "weight")

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight = weight
        self.size = weight.shape[0]
        self.eps = eps

    def __call__(self, x: Tensor) -> tuple[Tensor, RowScale]:
        """`x` is float32 [rows, size]."""
        if x.shape[0] == 1 and x.device.type == "cpu":
            row = x.view(-1)
            return x * self.weight, float((row.dot(row).item() / self.size + self.eps) ** -0.5)
        length = torch.linalg.vector_norm(x, 2, -1, True)
        return x * self.weight, length.square_().div_(self.size).add_(self.eps).rsqrt_()


class LayerNorm:
    """LayerNorm with a bias, in the form of RMSNorm; its factor is already in the first of the pair."""

    __slots__ = ("bias", "eps", "weight")

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps

    def __call__(self, x: Tensor) -> tuple[Tensor, RowScale]:
        """`x` is float32 [rows, size]."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps), None


class QueryKeyNorm:
    """An RMSNorm on queries and one on keys, in place, where they stand in a row: queries, keys, values.

    `heads` says how many queries and keys there are in a row; their size is that of the weights.
    """

    __slots__ = ("_eps", "_key", "_query", "_widths")

    def __init__(self, query: Tensor, key: Tensor, heads: tuple[int, int], eps: float) -> None:
        self._query, self._key, self._eps = query, key, eps
        self._widths = (heads[0] * query.shape[0], heads[1] * key.shape[0])

    def __call__(self, projected: Tensor) -> None:
        """`projected` is float32 [rows, queries + keys + values]."""
        first, second = self._widths
        for part, weight in ((projected[:, :first], self._query), (projected[:, first : first + second], self._key)):
            heads = part.view(part.shape[0], -1, weight.shape[0])
            heads.mul_(heads.square().mean(-1, True).add_(self._eps).rsqrt_()).mul_(weight)
