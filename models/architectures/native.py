"""The decoder whose layers are all of Llama's kind and whose weights are native: a step is one call into C.

Keys and values are float16, and a block of keys lies turned in its place, [head_dim, BLOCK], which nobody else may
read: blocks are copied as wholes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.layout import LAYER_LINEARS, layer_prefix
from openhearth.models.architectures.step import Step
from openhearth.models.kernels.library import library
from openhearth.models.kernels.structs import DecoderStruct, LayerStruct, Matrix, StepStruct
from openhearth.models.kernels.weights import Part, is_native, parts_of
from openhearth.models.layers.linear import LinearKind
from openhearth.models.layers.native import matrix_of
from openhearth.models.layers.paged import KVStore
from openhearth.models.layers.rope import rotations
from openhearth.models.loading.config import DecoderConfig

_MOST_PARTS = 4


def runs_natively(config: DecoderConfig, kinds: Mapping[str, LinearKind], device: torch.device) -> bool:
    """Whether `NativeDecoder` takes a model of this config and these kinds of linears."""
    return (
        device.type == "cpu"
        and library() is not None
        and all(is_native(kind) for kind in kinds.values())
        and all(config.is_standard(index) for index in range(config.layers))
        and config.logit_cap is None
        and config.hidden_size % 32 == config.intermediate_size % 32 == config.head_dim % 16 == 0
        and all(_layer_fits(config, kinds, f"{layer_prefix(index)}.") for index in range(config.layers))
        and all(len(parts_of(kinds[name])) == 1 for name in ("embedding", "head"))
    )


class NativeDecoder(BaseDecoder):
    """See `BaseDecoder`. Raises MemoryError too."""

    def __init__(
        self,
        config: DecoderConfig,
        tensors: Mapping[str, Tensor],
        kinds: Mapping[str, LinearKind],
        *,
        context: int,
    ) -> None:
        found = library()
        if found is None:
            raise RuntimeError("the native kernels are not available")
        super().__init__(config, torch.device("cpu"), torch.float16)
        self._decode = found.hearth_decode
        self._kept: list[object] = []
        """What the structures point to."""
        self._struct = self._describe(tensors, kinds, context)

    def __call__(self, step: Step, kv: KVStore) -> Tensor:
        """See `BaseDecoder`."""
        rows = step.ids.shape[0]
        wanted = step.wanted
        count = rows if wanted is None else wanted.shape[0]
        logits = torch.empty(count, self.config.vocab_size)
        keys = kv.keys[0]
        failed = self._decode(
            self._struct,
            StepStruct(
                ids=step.ids.data_ptr(),
                slots=step.slots.data_ptr(),
                wanted=None if wanted is None else wanted.data_ptr(),
                positions=step.positions.data_ptr(),
                sequences=step.row_sequence.data_ptr(),
                tables=step.tables.data_ptr(),
                keys=keys.data_ptr(),
                values=kv.values[0].data_ptr(),
                layer_stride=0 if len(kv.keys) == 1 else (kv.keys[1].data_ptr() - keys.data_ptr()) // keys.itemsize,
                head_stride=keys.stride(1),
                block_stride=keys.stride(0),
                rows=rows,
                wanted_count=count,
                widest=step.tables.shape[1],
                logits=logits.data_ptr(),
            ),
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError(f"no memory for a step of {rows} rows")
        return logits

    def _describe(self, tensors: Mapping[str, Tensor], kinds: Mapping[str, LinearKind], context: int) -> DecoderStruct:
        config = self.config

        def vector(name: str) -> int:
            kept = tensors[name].to(torch.float32).contiguous()
            self._kept.append(kept)
            return kept.data_ptr()

        def matrices(name: str, kind: str) -> list[Matrix]:
            weight = tensors[f"{name}.weight"].contiguous()
            self._kept.append(weight)
            bias = vector(f"{name}.bias") if f"{name}.bias" in tensors else None
            found, first = [], 0
            for part in parts_of(kind):
                found.append(matrix_of(weight, part, None if bias is None else bias + 4 * first))
                first += part.outputs
            return found

        layers = (LayerStruct * config.layers)()
        for index, layer in enumerate(layers):
            prefix = f"{layer_prefix(index)}."
            qkv, o, up_gate, down = (matrices(prefix + name, kinds[prefix + name]) for name in LAYER_LINEARS)
            if len(up_gate) == 1:
                up_gate = _halved(up_gate[0])
            layer.attention_norm = vector(f"{prefix}attention_norm.weight")
            layer.mlp_norm = vector(f"{prefix}mlp_norm.weight")
            layer.qkv, layer.qkv_parts = (Matrix * len(qkv))(*qkv), len(qkv)
            (layer.o,), (layer.up, layer.gate), (layer.down,) = o, up_gate, down
        turns = torch.view_as_real(
            rotations(
                config.head_dim, config.rope_theta, config.rope_scaling, context, self.device, rotated=config.rotary_dim
            )
        ).contiguous()
        self._kept += [layers, turns]
        (embedding,) = matrices("embedding", kinds["embedding"])
        (head,) = matrices("embedding" if config.tie_embeddings else "head", kinds["head"])
        return DecoderStruct(
            layers=layers,
            embedding=embedding,
            head=head,
            norm=vector("norm.weight"),
            turns=turns.data_ptr(),
            layer_count=config.layers,
            hidden=config.hidden_size,
            heads=config.heads,
            kv_heads=config.kv_heads,
            size=config.head_dim,
            inner=config.intermediate_size,
            eps=config.rms_eps,
            scale=config.head_dim**-0.5,
            multiplier=config.embedding_multiplier,
        )


def _layer_fits(config: DecoderConfig, kinds: Mapping[str, LinearKind], prefix: str) -> bool:
    qkv, o, up_gate, down = (parts_of(kinds[prefix + name]) for name in LAYER_LINEARS)
    return len(qkv) <= _MOST_PARTS and len(o) == len(down) == 1 and _fits_in_halves(up_gate, config.intermediate_size)


def _fits_in_halves(parts: list[Part], inner: int) -> bool:
    return len(parts) == 1 or [part.outputs for part in parts] == [inner, inner]


def _halved(both: Matrix) -> list[Matrix]:
    """The first and the second half of the outputs, which are whole panels."""
    half = both.outputs // 2
    bias = None if both.bias is None else both.bias + 4 * half
    second = both.panels + half // 16 * both.panel_bytes
    return [
        Matrix(both.panels, both.bias, both.panel_bytes, both.kind, both.inputs, half, 0),
        Matrix(second, bias, both.panel_bytes, both.kind, both.inputs, half, 0),
    ]
