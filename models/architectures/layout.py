"""The engine's own tensor names and shapes, made from a checkpoint's.

    embedding.weight   [vocabulary, size]
    layers.N.attention_norm.weight   [size]
    layers.N.qkv.weight   [(heads + 2 * kv_heads) * head_dim, size]   query and key rows interleaved (layers/rope.py)
    layers.N.o.weight   [size, heads * head_dim]
    layers.N.mlp_norm.weight   [size]
    layers.N.up_gate.weight   [2 * inner, size]   the rows of up, then those of gate
    layers.N.down.weight   [size, inner]
    norm.weight   [size]   times the logits' multiplier
    head.weight   [vocabulary, size]   absent where the embedding serves as the head

Some families have more, or other ones:

    layers.N.query_norm.weight, layers.N.key_norm.weight   [head_dim], or [heads * head_dim]; interleaved alike
    layers.N.attention_post_norm.weight, layers.N.mlp_post_norm.weight   [size]   on what a block adds
    layers.N.router.weight   [experts, size]   always float32
    layers.N.experts_up_gate.weight   [experts * 2 * inner, size]   for up_gate: an expert's rows after another's
    layers.N.experts_down.weight   [experts * size, inner]   for down

A linear may have a `.bias`, as may a LayerNorm, and a linear has a `.scale` where its weight is int8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from openhearth.models.layers.rope import interleave
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.tensors import NORMS

Load = Callable[[str], Tensor]

LAYER_LINEARS: tuple[str, ...] = ("qkv", "o", "up_gate", "down")
SPARSE_LINEARS: tuple[str, ...] = ("qkv", "o", "experts_up_gate", "experts_down")


def layer_prefix(index: int) -> str:
    return f"layers.{index}"


def layer_linears(config: DecoderConfig, index: int) -> tuple[str, ...]:
    """What has a precision of its own in layer `index`."""
    return SPARSE_LINEARS if config.is_sparse(index) else LAYER_LINEARS


def layer_tensors(config: DecoderConfig, index: int, load: Load) -> dict[str, Tensor]:
    """Layer `index` in the engine's layout, without its prefix. `load` gives a checkpoint tensor by name, float32."""

    def part(name: str) -> Tensor:
        return load(f"model.layers.{index}.{name}")

    return _norms(config, part) | _attention(config, part) | _feed_forward(config, index, part)


def final_norm(config: DecoderConfig, load: Load) -> dict[str, Tensor]:
    """The norm before the head, by name, with the logits' multiplier."""
    parts = ("weight", "bias") if config.norm == "layer" else ("weight",)
    return {f"norm.{part}": load(f"model.norm.{part}").mul_(config.logit_multiplier) for part in parts}


def linear_names(config: DecoderConfig) -> tuple[str, ...]:
    """Everything that has a precision of its own: the linears, and the embedding. A head that the embedding serves as
    has one too, although it has no weight: the same int8 numbers can be computed with in either int8 kind."""
    layers = [
        f"{layer_prefix(index)}.{name}" for index in range(config.layers) for name in layer_linears(config, index)
    ]
    return ("embedding", *layers, "head")


def tensor_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the layout, scales aside."""
    vocabulary = (config.vocab_size, config.hidden_size)
    shapes = {"embedding.weight": vocabulary} | _norm_shapes(config, "norm")
    for index in range(config.layers):
        shapes |= {f"{layer_prefix(index)}.{name}": shape for name, shape in _layer_shapes(config, index).items()}
    if not config.tie_embeddings:
        shapes["head.weight"] = vocabulary
    return shapes


def _norms(config: DecoderConfig, part: Load) -> dict[str, Tensor]:
    kinds = ("weight", "bias") if config.norm == "layer" else ("weight",)
    return {
        f"{name}.{kind}": part(f"{theirs}.{kind}")
        for name, theirs in NORMS[config.norm_place].items()
        for kind in kinds
    }


def _attention(config: DecoderConfig, part: Load) -> dict[str, Tensor]:
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim

    def project(kind: str) -> Tensor:
        if config.family.fused_attention:
            q, k, v = part(f"self_attn.qkv_proj.{kind}").split_with_sizes([query, key, key])
        else:
            q, k, v = (part(f"self_attn.{name}_proj.{kind}") for name in "qkv")
        return torch.cat([interleave(q, config.heads, rotated), interleave(k, config.kv_heads, rotated), v])

    rotated = config.rotated
    tensors = {"qkv.weight": project("weight"), "o.weight": part("self_attn.o_proj.weight")}
    if config.attention_bias:
        tensors["qkv.bias"] = project("bias")
    if config.output_bias:
        tensors["o.bias"] = part("self_attn.o_proj.bias")
    if config.qk_norm != "none":
        whole = config.qk_norm == "whole"
        for name, heads in (("query", config.heads), ("key", config.kv_heads)):
            weight = part(f"self_attn.{name[0]}_norm.weight")
            tensors[f"{name}_norm.weight"] = interleave(weight, heads if whole else 1, rotated)
    return tensors


def _feed_forward(config: DecoderConfig, index: int, part: Load) -> dict[str, Tensor]:
    if config.is_sparse(index):
        both = torch.cat([part(f"mlp.experts.{name}_proj.weight") for name in ("up", "gate")], 1)
        return {
            "router.weight": part("mlp.gate.weight"),
            "experts_up_gate.weight": both.flatten(0, 1),
            "experts_down.weight": part("mlp.experts.down_proj.weight").flatten(0, 1),
        }

    def up_gate(kind: str) -> Tensor:
        if config.family.fused_mlp:
            return torch.cat([*reversed(part(f"mlp.gate_up_proj.{kind}").chunk(2))])
        return torch.cat([part(f"mlp.{name}_proj.{kind}") for name in ("up", "gate")])

    tensors = {"up_gate.weight": up_gate("weight"), "down.weight": part("mlp.down_proj.weight")}
    if config.mlp_bias:
        tensors |= {"up_gate.bias": up_gate("bias"), "down.bias": part("mlp.down_proj.bias")}
    return tensors


def _norm_shapes(config: DecoderConfig, name: str) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias") if config.norm == "layer" else ("weight",)
    return {f"{name}.{kind}": (config.hidden_size,) for kind in kinds}


def _layer_shapes(config: DecoderConfig, index: int) -> dict[str, tuple[int, ...]]:
    size, inner = config.hidden_size, config.intermediate_size
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {}
    for name in NORMS[config.norm_place]:
        shapes |= _norm_shapes(config, name)
    shapes |= {"qkv.weight": (query + 2 * key, size), "o.weight": (size, query)}
    if config.attention_bias:
        shapes["qkv.bias"] = (query + 2 * key,)
    if config.output_bias:
        shapes["o.bias"] = (size,)
    if config.qk_norm != "none":
        whole = config.qk_norm == "whole"
        shapes["query_norm.weight"] = (query if whole else config.head_dim,)
        shapes["key_norm.weight"] = (key if whole else config.head_dim,)
    if config.experts is not None and config.is_sparse(index):
        count, inner = config.experts.count, config.experts.size
        shapes["router.weight"] = (count, size)
        shapes["experts_up_gate.weight"] = (count * 2 * inner, size)
        shapes["experts_down.weight"] = (count * size, inner)
        return shapes
    shapes |= {"up_gate.weight": (2 * inner, size), "down.weight": (size, inner)}
    if config.mlp_bias:
        shapes |= {"up_gate.bias": (2 * inner,), "down.bias": (size,)}
    return shapes
