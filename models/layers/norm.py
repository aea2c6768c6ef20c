"""RMSNorm, split in two so that the linear behind it does half of the work."""

from __future__ import annotations

import torch
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
