"""Folding SmoothQuant's factors (layers/quantise.py) into what stands before a linear, where that is exact.

    norm before qkv, up_gate or experts    into the norm's weight and bias; experts and their router see the same input
    values before o                        into the value rows of qkv
    up before down                         into the up rows of up_gate

Where there is no such norm (OLMo 2 has its norms behind the blocks), the input is the residual stream, and stays as it
is. So does that of each expert's down: a short text reaches too few experts to say which channels are large.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from openhearth.models.layers.quantise import smoothing_factors
from openhearth.models.loading.config import DecoderConfig


def smooth_layer(config: DecoderConfig, tensors: dict[str, Tensor], largest: Mapping[str, Tensor]) -> None:
    """Change a layer's tensors (architectures/layout.py) in place, so that their product stays the same.

    `largest` gives the largest absolute input of each channel [in] of the linears, by name, and of the router.
    """
    if config.norm_place != "after":
        _smooth_behind_norm(tensors, "attention_norm", ("qkv",), largest["qkv"])
        if "router" in largest:
            # The router is float32 and only follows what the experts ask for.
            _smooth_behind_norm(tensors, "mlp_norm", ("experts_up_gate", "router"), largest["router"])
        else:
            _smooth_behind_norm(tensors, "mlp_norm", ("up_gate",), largest["up_gate"])
    _smooth_values(config, tensors, largest["o"])
    if "down" in largest:
        factors = smoothing_factors(largest["down"], tensors["down.weight"])
        tensors["down.weight"] *= factors
        _divide_rows(tensors, "up_gate", slice(config.intermediate_size), factors)


def _smooth_behind_norm(tensors: dict[str, Tensor], norm: str, linears: tuple[str, ...], largest: Tensor) -> None:
    """All of `linears` have the norm's result as their input; the first decides."""
    factors = smoothing_factors(largest, tensors[f"{linears[0]}.weight"])
    for name in linears:
        tensors[f"{name}.weight"] *= factors
    for part in ("weight", "bias"):
        if f"{norm}.{part}" in tensors:
            tensors[f"{norm}.{part}"] /= factors


def _smooth_values(config: DecoderConfig, tensors: dict[str, Tensor], largest: Tensor) -> None:
    # A value head serves a group of query heads, so these share its factors.
    group = (config.kv_heads, config.heads // config.kv_heads, config.head_dim)
    shared = largest.view(group).amax(1).flatten()
    weight = tensors["o.weight"].view(-1, *group)
    factors = smoothing_factors(shared, weight.abs().amax(2).flatten(1))
    weight *= factors.view(config.kv_heads, 1, config.head_dim)
    values = slice((config.heads + config.kv_heads) * config.head_dim, None)
    _divide_rows(tensors, "qkv", values, factors)


def _divide_rows(tensors: dict[str, Tensor], name: str, rows: slice, factors: Tensor) -> None:
    for part in ("weight", "bias"):
        if f"{name}.{part}" in tensors:
            tensor = tensors[f"{name}.{part}"][rows]
            tensor /= factors.view(-1, *[1] * (tensor.dim() - 1))
