"""A mixture of experts: a router picks a few feed-forward blocks for each row, and mixes what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openhearth.models.layers.linear import Linear, RowScale
from openhearth.models.loading.config import Experts


class ExpertsBlock:
    """The mixture, added to `x` in place; `up_gates` and `downs` have one linear for each expert."""

    def __init__(
        self,
        experts: Experts,
        router: Linear,
        up_gates: Sequence[Linear],
        downs: Sequence[Linear],
        *,
        gated: Callable[[Tensor], Tensor],
        before: Callable[[Tensor], tuple[Tensor, RowScale]],
        after: Callable[[Tensor], Tensor],
        multiplier: float,
    ) -> None:
        self._used, self._normalised = experts.used, experts.normalised
        self._router, self._up_gates, self._downs = router, up_gates, downs
        self._gated, self._before, self._after, self._multiplier = gated, before, after, multiplier

    def __call__(self, x: Tensor) -> Tensor:
        normed, scale = self._before(x)
        if scale is not None:
            normed = normed * scale
        weights, chosen = self._router(normed).softmax(-1).topk(self._used)
        if self._normalised:
            weights /= weights.sum(-1, keepdim=True)
        mixed = self._one(normed, weights, chosen) if x.shape[0] == 1 else self._many(normed, weights, chosen)
        return x.add_(self._after(mixed), alpha=self._multiplier)

    def _one(self, row: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        mixed = torch.zeros_like(row)
        for expert, weight in zip(chosen[0].tolist(), weights[0].tolist(), strict=True):
            mixed.add_(self._ask(expert, row), alpha=weight)
        return mixed

    def _many(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Each expert sees all rows that chose it at once."""
        mixed = torch.zeros_like(rows)
        for expert in sorted({*chosen.flatten().tolist()}):
            which, place = (chosen == expert).nonzero(as_tuple=True)
            mixed.index_add_(0, which, self._ask(expert, rows[which]).mul_(weights[which, place, None]))
        return mixed

    def _ask(self, expert: int, rows: Tensor) -> Tensor:
        return self._downs[expert](self._gated(self._up_gates[expert](rows)))
