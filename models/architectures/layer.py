"""The layer of Llama and Qwen2: grouped-query attention and a gated feed-forward block, both behind an RMSNorm and
added to the residual stream, with rotary positions. Layers of another kind are put together in varied.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.architectures.layout import LAYER_LINEARS
from openhearth.models.architectures.place import Place
from openhearth.models.architectures.varied import build_varied_layer
from openhearth.models.layers.attention import attend
from openhearth.models.layers.linear import Linear, LinearKind, build_linear
from openhearth.models.layers.norm import RMSNorm
from openhearth.models.layers.paged import LayerKV
from openhearth.models.layers.rope import rotate_
from openhearth.models.loading.config import DecoderConfig

Watch = Callable[[str, Linear], Linear]
"""Sees each linear of a layer, by name, before the layer gets it; may put another one in its place."""


class AnyLayer(Protocol):
    def __call__(self, x: Tensor, kv: LayerKV, place: Place) -> Tensor:
        """Put keys and values of the rows `x` into `kv`, add the layer's part to `x` in place, and return it."""
        ...


class Layer:
    """One standard layer (`DecoderConfig.is_standard`). `linears` are those of `LAYER_LINEARS`, by name."""

    __slots__ = ("_widths", "attention_norm", "down", "inner", "mlp_norm", "o", "qkv", "up_gate")

    def __init__(self, config: DecoderConfig, norms: Mapping[str, RMSNorm], linears: Mapping[str, Linear]) -> None:
        self.inner = config.intermediate_size
        self._widths = (config.heads * config.head_dim, 2 * config.kv_heads * config.head_dim)
        self.attention_norm, self.mlp_norm = norms["attention_norm"], norms["mlp_norm"]
        self.qkv, self.o, self.up_gate, self.down = (linears[name] for name in LAYER_LINEARS)

    def __call__(self, x: Tensor, kv: LayerKV, place: Place) -> Tensor:
        projected = self.qkv(*self.attention_norm(x))
        rotate_(projected, place.rotation)
        queries, keys_values = projected.split_with_sizes(self._widths, 1)
        kv.write(keys_values, place.step.slots)
        x.add_(self.o(attend(queries, kv, place.step.spans, place.masks(), place.slots_of)))
        up_gate = self.up_gate(*self.mlp_norm(x))
        # up * sigmoid(gate), then times gate: SwiGLU in two operations.
        return x.add_(self.down(F.glu(up_gate).mul_(up_gate[:, self.inner :])))


def build_layer(
    config: DecoderConfig,
    index: int,
    tensors: Mapping[str, Tensor],
    kinds: Mapping[str, LinearKind],
    device: torch.device,
    prefix: str = "",
    watch: Watch | None = None,
) -> AnyLayer:
    """Layer `index` from its tensors (architectures/layout.py); `kinds` gives each linear's precision by full name."""
    if not config.is_standard(index):
        return build_varied_layer(config, index, tensors, kinds, device, prefix, watch)
    norms = {
        name: RMSNorm(tensors[f"{prefix}{name}.weight"].to(device, torch.float32), config.rms_eps)
        for name in ("attention_norm", "mlp_norm")
    }
    linears = {
        name: build_linear(tensors, f"{prefix}{name}", kinds[f"{prefix}{name}"], device) for name in LAYER_LINEARS
    }
    if watch is not None:
        linears = {name: watch(name, linear) for name, linear in linears.items()}
    return Layer(config, norms, linears)
