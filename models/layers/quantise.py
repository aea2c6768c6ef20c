"""Turning float weights into int8: one scale per output channel, and SmoothQuant's factors.

SmoothQuant (Xiao et al., 2023, arXiv 2211.10438) divides input channel j by s_j and multiplies weight column j by it,
which changes nothing in exact arithmetic, but evens out activations whose few huge channels would otherwise take the
whole 8-bit range: s_j = max|x_j|^alpha / max|w_j|^(1 - alpha).
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA = 0.5

_FLOOR = 1e-5
_LIMIT = 1e4
_ROWS = 4096


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 [out, in] and float32 scales [out] such that `int8 * scale` is near `weight`."""
    scale = torch.linalg.vector_norm(weight, torch.inf, 1).div_(127).clamp_min_(1e-12)
    quantised = torch.empty(weight.shape, dtype=torch.int8)
    # A vocabulary's rows all at once would need another gigabyte.
    for first in range(0, weight.shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        quantised[rows] = torch.div(weight[rows], scale[rows, None]).round_()
    return quantised, scale


def dequantise_rows(weight: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight that int8 `weight` and `scale` stand for."""
    return weight.float().mul_(scale[:, None])


def smoothing_factors(largest_input: Tensor, weight: Tensor, alpha: float = ALPHA) -> Tensor:
    """Factors s [in] from each input channel's largest absolute value and the weight [out, in].

    Normalised to a median of 1, so that what is folded elsewhere keeps its magnitude.
    """
    largest_weight = weight.abs().amax(0).clamp_min(_FLOOR)
    factors = largest_input.clamp_min(_FLOOR) ** alpha / largest_weight ** (1 - alpha)
    factors = factors / factors.median()
    return factors.clamp_(1 / _LIMIT, _LIMIT)
