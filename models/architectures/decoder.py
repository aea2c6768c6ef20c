"""One decoder for the Llama family, driven by its config: grouped-query attention and a gated feed-forward layer, both
behind an RMSNorm and added to the residual stream, with rotary positions.

The residual stream, the cache and all sums are float32; a linear decides its own precision. On a CPU the time of a
single row is the weights' passage through memory plus one to two microseconds for each small operation, so there are
few of them: projections are fused, positions rotate by one complex product, scales ride on results (layers/norm.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.architectures.layout import LAYER_LINEARS, layer_prefix
from openhearth.models.layers.attention import attend, causal_mask
from openhearth.models.layers.embedding import Embedding
from openhearth.models.layers.linear import Linear, LinearKind, build_linear
from openhearth.models.layers.norm import RMSNorm
from openhearth.models.layers.rope import rotate_, rotations, spread
from openhearth.models.loading.config import DecoderConfig


class Cache(Protocol):
    """Keys and values of one sequence, of which `length` are filled."""

    length: int

    def views(self, end: int) -> Sequence[LayerCache]:
        """Make room for `end` tokens and show each layer the cache as it needs it for the rows from `length` on."""
        ...


@dataclass(slots=True, frozen=True)
class LayerCache:
    """One layer's part of a cache: where new rows go, [rows, 2, kv_heads, head_dim], and what they see when they are
    there, each [1, kv_heads, end, head_dim]."""

    new: Tensor
    keys: Tensor
    values: Tensor


@dataclass(slots=True, frozen=True)
class Place:
    """Where a step's rows stand in their sequence, as all layers need it: see `spread` and `causal_mask`."""

    rotation: Tensor
    mask: Tensor | None


class Layer:
    """One block. `linears` are those of `LAYER_LINEARS`, by name."""

    __slots__ = ("_widths", "attention_norm", "down", "inner", "mlp_norm", "o", "qkv", "up_gate")

    def __init__(self, config: DecoderConfig, norms: Mapping[str, RMSNorm], linears: Mapping[str, Linear]) -> None:
        self.inner = config.intermediate_size
        self._widths = (config.heads * config.head_dim, 2 * config.kv_heads * config.head_dim)
        self.attention_norm, self.mlp_norm = norms["attention_norm"], norms["mlp_norm"]
        self.qkv, self.o, self.up_gate, self.down = (linears[name] for name in LAYER_LINEARS)

    def __call__(self, x: Tensor, cache: LayerCache, place: Place) -> Tensor:
        """Put keys and values of the rows `x` into `cache`, add the block's part to `x` in place, and return it."""
        projected = self.qkv(*self.attention_norm(x))
        rotate_(projected, place.rotation)
        queries, keys_values = projected.split_with_sizes(self._widths, 1)
        cache.new.copy_(keys_values.view(cache.new.shape))
        x.add_(self.o(attend(queries, cache.keys, cache.values, place.mask)))
        up_gate = self.up_gate(*self.mlp_norm(x))
        # up * sigmoid(gate), then times gate: SwiGLU in two operations.
        return x.add_(self.down(F.glu(up_gate).mul_(up_gate[:, self.inner :])))


class Decoder:
    """The whole model: token ids in, logits out."""

    def __init__(
        self,
        config: DecoderConfig,
        embedding: Embedding,
        layers: Sequence[Layer],
        norm: RMSNorm,
        head: Linear,
        *,
        context: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.layers = layers
        self._embedding, self._norm, self._head = embedding, norm, head
        self._rotations = rotations(config.head_dim, config.rope_theta, config.rope_scaling, context, device)

    def __call__(self, ids: Tensor, cache: Cache, *, every_row: bool = False) -> Tensor:
        """Run `ids` [rows] at the end of `cache`; logits float32 of the last row, or of every row, [rows, vocabulary].

        The rows must fit the context that the decoder was built for.
        """
        start, end = cache.length, cache.length + ids.shape[0]
        place = place_rows(self.config, self._rotations, start, end)
        x = self._embedding(ids)
        for layer, layer_cache in zip(self.layers, cache.views(end), strict=True):
            x = layer(x, layer_cache, place)
        cache.length = end
        if not every_row:
            x = x[-1:]
        return self._head(*self._norm(x))


def place_rows(config: DecoderConfig, table: Tensor, start: int, end: int) -> Place:
    """The place [start, end); `table` holds the `rotations` of all positions."""
    rotation = spread(table[start:end], config.heads + config.kv_heads, config.kv_heads)
    return Place(rotation, causal_mask(start, end - start, table.device))


def build_layer(
    config: DecoderConfig,
    tensors: Mapping[str, Tensor],
    kinds: Mapping[str, LinearKind],
    device: torch.device,
    prefix: str = "",
) -> Layer:
    """A layer from its tensors (`architectures/layout.py`); `kinds` gives each linear's precision by full name."""
    norms = {
        name: RMSNorm(tensors[f"{prefix}{name}.weight"].to(device, torch.float32), config.rms_eps)
        for name in ("attention_norm", "mlp_norm")
    }
    linears = {
        name: build_linear(tensors, f"{prefix}{name}", kinds[f"{prefix}{name}"], device) for name in LAYER_LINEARS
    }
    return Layer(config, norms, linears)


def build_decoder(
    config: DecoderConfig,
    tensors: Mapping[str, Tensor],
    kinds: Mapping[str, LinearKind],
    *,
    context: int,
    device: torch.device,
    each: Callable[[Callable[[int], Layer], range], Sequence[Layer]],
) -> Decoder:
    """The decoder over a store's tensors. `each` maps a function over the layer numbers, and may do so in parallel."""

    def build(index: int) -> Layer:
        return build_layer(config, tensors, kinds, device, f"{layer_prefix(index)}.")

    scale = tensors.get("embedding.scale")
    embedding = Embedding(tensors["embedding.weight"].to(device), None if scale is None else scale.to(device))
    norm = RMSNorm(tensors["norm.weight"].to(device, torch.float32), config.rms_eps)
    layers = each(build, range(config.layers))
    head = build_linear(tensors, "embedding" if config.tie_embeddings else "head", kinds["head"], device)
    return Decoder(config, embedding, layers, norm, head, context=context, device=device)
