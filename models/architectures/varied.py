"""Layers that differ from Llama's, put together from parts when they are built: nothing is asked of a config at run
time. A layer is an attention block and a feed-forward block (or experts, experts.py), each of the form

    x += multiplier * after(block(before(x)))

where `before` and `after` are norms or nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.architectures.experts import ExpertsBlock
from openhearth.models.architectures.place import Place
from openhearth.models.kernels.weights import share_of
from openhearth.models.layers.attention import attend, capped_attention, scaled_attention
from openhearth.models.layers.linear import FloatLinear, Linear, LinearKind, RowScale, build_linear
from openhearth.models.layers.norm import LayerNorm, QueryKeyNorm, RMSNorm
from openhearth.models.layers.paged import LayerKV
from openhearth.models.layers.rope import rotate_
from openhearth.models.loading.config import DecoderConfig

Before = Callable[[Tensor], tuple[Tensor, RowScale]]
After = Callable[[Tensor], Tensor]
Turn = Callable[[Tensor, Place], None]


class VariedLayer:
    """See `layer.AnyLayer`."""

    __slots__ = ("_attention", "_feed_forward")

    def __init__(self, attention: AttentionBlock, feed_forward: Callable[[Tensor], Tensor]) -> None:
        self._attention, self._feed_forward = attention, feed_forward

    def __call__(self, x: Tensor, kv: LayerKV, place: Place) -> Tensor:
        return self._feed_forward(self._attention(x, kv, place))


class AttentionBlock:
    """Attention, added to `x` in place. `turn` rotates queries and keys in place, behind `query_key_norm`."""

    def __init__(
        self,
        config: DecoderConfig,
        window: int | None,
        qkv: Linear,
        o: Linear,
        *,
        before: Before,
        after: After,
        query_key_norm: QueryKeyNorm | None,
        turn: Turn,
    ) -> None:
        self._widths = (config.heads * config.head_dim, 2 * config.kv_heads * config.head_dim)
        self._qkv, self._o = qkv, o
        self._before, self._after, self._query_key_norm, self._turn = before, after, query_key_norm, turn
        self._window, self._multiplier = window, config.residual_multiplier
        scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
        if config.attention_cap is None:
            self._core = functools.partial(scaled_attention, scale=scale)
        else:
            self._core = functools.partial(capped_attention, scale=scale, cap=config.attention_cap)

    def __call__(self, x: Tensor, kv: LayerKV, place: Place) -> Tensor:
        projected = self._qkv(*self._before(x))
        if self._query_key_norm is not None:
            self._query_key_norm(projected)
        self._turn(projected, place)
        queries, keys_values = projected.split_with_sizes(self._widths, 1)
        kv.write(keys_values, place.step.slots)
        window = self._window
        seen = attend(queries, kv, place.step.spans, place.masks(window), place.slots_of, window, self._core)
        return x.add_(self._after(self._o(seen)), alpha=self._multiplier)


class FeedForwardBlock:
    """A gated feed-forward block, added to `x` in place."""

    def __init__(self, config: DecoderConfig, up_gate: Linear, down: Linear, *, before: Before, after: After) -> None:
        self._up_gate, self._down, self._gated = up_gate, down, GATED[config.activation]
        self._before, self._after, self._multiplier = before, after, config.residual_multiplier

    def __call__(self, x: Tensor) -> Tensor:
        inner = self._gated(self._up_gate(*self._before(x)))
        return x.add_(self._after(self._down(inner)), alpha=self._multiplier)


def build_varied_layer(
    config: DecoderConfig,
    index: int,
    tensors: Mapping[str, Tensor],
    kinds: Mapping[str, LinearKind],
    device: torch.device,
    prefix: str,
    watch: Callable[[str, Linear], Linear] | None,
) -> VariedLayer:
    """See `layer.build_layer`."""

    def tensor(name: str) -> Tensor:
        return tensors[prefix + name].to(device, torch.float32)

    def linear(name: str) -> Linear:
        built = build_linear(tensors, prefix + name, kinds[prefix + name], device)
        return built if watch is None else watch(name, built)

    def experts(name: str, count: int) -> list[Linear]:
        """One linear for each expert, from its rows of all tensors of `name`."""
        start = f"{prefix}{name}."
        kind = share_of(kinds[prefix + name], count)
        parts = {key: value.chunk(count) for key, value in tensors.items() if key.startswith(start)}
        return [
            build_linear({key: chunks[i] for key, chunks in parts.items()}, prefix + name, kind, device)
            for i in range(count)
        ]

    def before(name: str) -> Before:
        if config.norm_place == "after":
            return _unchanged
        return build_norm(config, tensors, prefix + name, device)

    def after(name: str) -> After:
        if config.norm_place == "before":
            return _same
        return _Post(build_norm(config, tensors, prefix + name, device))

    attention = AttentionBlock(
        config,
        (config.windows[index] or None) if config.windows else None,
        linear("qkv"),
        linear("o"),
        before=before("attention_norm"),
        after=after("attention_post_norm"),
        query_key_norm=_query_key_norm(config, tensor),
        turn=_turn(config, index),
    )
    mlp_before, mlp_after = before("mlp_norm"), after("mlp_post_norm")
    if config.experts is None or not config.is_sparse(index):
        return VariedLayer(
            attention, FeedForwardBlock(config, linear("up_gate"), linear("down"), before=mlp_before, after=mlp_after)
        )
    count = config.experts.count
    router: Linear = FloatLinear(tensor("router.weight"))
    block = ExpertsBlock(
        config.experts,
        router if watch is None else watch("router", router),
        experts("experts_up_gate", count),
        experts("experts_down", count),
        gated=GATED[config.activation],
        multiplier=config.residual_multiplier,
        before=mlp_before,
        after=mlp_after,
    )
    return VariedLayer(attention, block)


def build_norm(
    config: DecoderConfig, tensors: Mapping[str, Tensor], name: str, device: torch.device
) -> RMSNorm | LayerNorm:
    """The norm `name` of the config's kind."""
    weight = tensors[f"{name}.weight"].to(device, torch.float32)
    if config.norm == "rms":
        return RMSNorm(weight, config.rms_eps)
    return LayerNorm(weight, tensors[f"{name}.bias"].to(device, torch.float32), config.rms_eps)


def _query_key_norm(config: DecoderConfig, tensor: Callable[[str], Tensor]) -> QueryKeyNorm | None:
    if config.qk_norm == "none":
        return None
    whole = config.qk_norm == "whole"
    heads = (1, 1) if whole else (config.heads, config.kv_heads)
    return QueryKeyNorm(tensor("query_norm.weight"), tensor("key_norm.weight"), heads, config.rms_eps)


def _turn(config: DecoderConfig, index: int) -> Turn:
    if index in config.unrotated:
        return _stay
    return _turn_in_window if config.windows and config.windows[index] else _turn_plainly


def _turn_plainly(projected: Tensor, place: Place) -> None:
    rotate_(projected, place.rotation)


def _turn_in_window(projected: Tensor, place: Place) -> None:
    rotate_(projected, place.window_rotation)


def _stay(projected: Tensor, place: Place) -> None:
    """No positions."""


def _unchanged(x: Tensor) -> tuple[Tensor, RowScale]:
    return x, None


def _same(y: Tensor) -> Tensor:
    return y


class _Post:
    """A norm on what a block adds."""

    __slots__ = ("_norm",)

    def __init__(self, norm: RMSNorm | LayerNorm) -> None:
        self._norm = norm

    def __call__(self, y: Tensor) -> Tensor:
        normed, scale = self._norm(y)
        return normed if scale is None else normed.mul_(scale)


def _swiglu(up_gate: Tensor) -> Tensor:
    return F.glu(up_gate).mul_(up_gate[:, up_gate.shape[1] // 2 :])


def _geglu(up_gate: Tensor) -> Tensor:
    up, gate = up_gate.chunk(2, 1)
    return F.gelu(gate, approximate="tanh").mul_(up)


GATED: dict[str, Callable[[Tensor], Tensor]] = {"silu": _swiglu, "gelu": _geglu}
"""What a block does between its linears: up times the activation of gate, [rows, inner] from [rows, 2 * inner]."""
