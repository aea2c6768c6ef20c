"""One decoder for many families (loading/families.py), driven by its config: layers that add to a residual stream,
between an embedding and a head.

The residual stream, the cache and all sums are float32; a linear decides its own precision. On a CPU the time of a
single row is the weights' passage through memory plus one to two microseconds for each small operation, so there are
few of them: projections are fused, positions rotate by one complex product, scales ride on results (layers/norm.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.layer import AnyLayer, build_layer
from openhearth.models.architectures.layout import layer_prefix
from openhearth.models.architectures.native import NativeDecoder, runs_natively
from openhearth.models.architectures.place import Positions
from openhearth.models.architectures.step import Step
from openhearth.models.architectures.varied import build_norm
from openhearth.models.device_policy import device_policy
from openhearth.models.layers.embedding import Embed, build_embedding
from openhearth.models.layers.linear import CappedLinear, Linear, LinearKind, build_linear
from openhearth.models.layers.norm import LayerNorm, RMSNorm
from openhearth.models.layers.paged import KVStore
from openhearth.models.loading.config import DecoderConfig


class Decoder(BaseDecoder):
    """The whole model: token ids in, logits out."""

    def __init__(
        self,
        config: DecoderConfig,
        embedding: Embed,
        layers: Sequence[AnyLayer],
        norm: RMSNorm | LayerNorm,
        head: Linear,
        *,
        context: int,
        device: torch.device,
        kv_dtype: torch.dtype = torch.float32,
    ) -> None:
        """`kv_dtype` is what keys and values are kept in."""
        super().__init__(config, device, kv_dtype)
        self.layers = layers
        self._embedding, self._norm, self._head = embedding, norm, head
        self._positions = Positions(config, context, device)

    def __call__(self, step: Step, kv: KVStore) -> Tensor:
        place = self._positions.place(step)
        x = self._embedding(step.ids)
        for layer, layer_kv in zip(self.layers, kv.views(step.spans), strict=True):
            x = layer(x, layer_kv, place)
        if step.wanted is not None:
            if not step.wanted.shape[0]:
                return x.new_empty(0, self.config.vocab_size)
            x = x.index_select(0, step.wanted)
        return self._head(*self._norm(x))


def build_decoder(
    config: DecoderConfig,
    tensors: Mapping[str, Tensor],
    kinds: Mapping[str, LinearKind],
    *,
    context: int,
    device: torch.device,
    each: Callable[[Callable[[int], AnyLayer], range], Sequence[AnyLayer]],
) -> BaseDecoder:
    """The decoder over a store's tensors. `each` maps a function over the layer numbers, and may do so in parallel."""
    if runs_natively(config, kinds, device):
        return NativeDecoder(config, tensors, kinds, context=context)

    def build(index: int) -> AnyLayer:
        return build_layer(config, index, tensors, kinds, device, f"{layer_prefix(index)}.")

    layers = each(build, range(config.layers))
    head = build_linear(tensors, "embedding" if config.tie_embeddings else "head", kinds["head"], device)
    if config.logit_cap is not None:
        head = CappedLinear(head, config.logit_cap)
    return Decoder(
        config,
        build_embedding(tensors, kinds["embedding"], device, config.embedding_multiplier),
        layers,
        build_norm(config, tensors, "norm", device),
        head,
        context=context,
        device=device,
        kv_dtype=torch.float32 if set(kinds.values()) == {"float32"} else device_policy(device).cache,
    )
