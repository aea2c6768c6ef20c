"""One decoder for the Llama family, driven by its config: grouped-query attention and a gated feed-forward layer, both
behind an RMSNorm and added to the residual stream, with rotary positions.

The residual stream, the cache and all sums are float32; a linear decides its own precision. On a CPU the time of a
single row is the weights' passage through memory plus one to two microseconds for each small operation, so there are
few of them: projections are fused, positions rotate by one complex product, scales ride on results (layers/norm.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.architectures.layout import LAYER_LINEARS, layer_prefix
from openhearth.models.architectures.step import Step
from openhearth.models.layers.attention import attend, causal_mask
from openhearth.models.layers.embedding import Embedding
from openhearth.models.layers.linear import Linear, LinearKind, build_linear
from openhearth.models.layers.norm import RMSNorm
from openhearth.models.layers.paged import KVStore, LayerKV
from openhearth.models.layers.rope import rotate_, rotations, spread
from openhearth.models.loading.config import DecoderConfig


class Place:
    """Where a step's rows stand in their sequences, as all layers need it: see `spread` and `attend`."""

    __slots__ = ("_masks", "_slots", "rotation", "step")

    def __init__(self, rotation: Tensor, step: Step) -> None:
        self.rotation = rotation
        self.step = step
        self._masks: dict[int | None, list[Tensor | None]] = {}
        self._slots: dict[int, Tensor] = {}

    def masks(self, window: int | None = None) -> list[Tensor | None]:
        """One `causal_mask` for each sequence of the step; made once for all layers with the same window."""
        masks = self._masks.get(window)
        if masks is None:
            device = self.step.ids.device
            masks = [causal_mask(span.length - span.rows, span.rows, device, window) for span in self.step.spans]
            self._masks[window] = masks
        return masks

    def slots_of(self, index: int) -> Tensor:
        """`Step.slots_of`, made once for all layers."""
        slots = self._slots.get(index)
        if slots is None:
            slots = self._slots[index] = self.step.slots_of(index)
        return slots


class Layer:
    """One block. `linears` are those of `LAYER_LINEARS`, by name."""

    __slots__ = ("_widths", "attention_norm", "down", "inner", "mlp_norm", "o", "qkv", "up_gate")

    def __init__(self, config: DecoderConfig, norms: Mapping[str, RMSNorm], linears: Mapping[str, Linear]) -> None:
        self.inner = config.intermediate_size
        self._widths = (config.heads * config.head_dim, 2 * config.kv_heads * config.head_dim)
        self.attention_norm, self.mlp_norm = norms["attention_norm"], norms["mlp_norm"]
        self.qkv, self.o, self.up_gate, self.down = (linears[name] for name in LAYER_LINEARS)

    def __call__(self, x: Tensor, kv: LayerKV, place: Place) -> Tensor:
        """Put keys and values of the rows `x` into `kv`, add the block's part to `x` in place, and return it."""
        projected = self.qkv(*self.attention_norm(x))
        rotate_(projected, place.rotation)
        queries, keys_values = projected.split_with_sizes(self._widths, 1)
        kv.write(keys_values, place.step.slots)
        x.add_(self.o(attend(queries, kv, place.step.spans, place.masks(), place.slots_of)))
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

    def __call__(self, step: Step, kv: KVStore) -> Tensor:
        """Run the rows of `step`, whose keys and values go into `kv`; logits float32 [wanted rows, vocabulary].

        Positions must lie within the context that the decoder was built for.
        """
        place = place_rows(self.config, self._rotations, step)
        x = self._embedding(step.ids)
        for layer, layer_kv in zip(self.layers, kv.views(step.spans), strict=True):
            x = layer(x, layer_kv, place)
        if step.wanted is not None:
            x = x.index_select(0, step.wanted)
        return self._head(*self._norm(x))

    def new_store(self, blocks: int) -> KVStore:
        """An empty store of `blocks` blocks for this decoder."""
        config = self.config
        return KVStore(config.layers, config.kv_heads, config.head_dim, blocks, device=self.device)


def place_rows(config: DecoderConfig, table: Tensor, step: Step) -> Place:
    """The place of the rows of `step`; `table` holds the `rotations` of all positions."""
    if len(step.spans) == 1:
        end = step.spans[0].length
        rows = table[end - step.spans[0].rows : end]
    else:
        rows = table.index_select(0, step.positions)
    return Place(spread(rows, config.heads + config.kv_heads, config.kv_heads), step)


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
