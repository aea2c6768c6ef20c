"""The engine's own tensor names and shapes, made from a checkpoint's.

    embedding.weight   [vocabulary, size]
    layers.N.attention_norm.weight   [size]
    layers.N.qkv.weight   [(heads + 2 * kv_heads) * head_dim, size]   query and key rows interleaved (layers/rope.py)
    layers.N.o.weight   [size, heads * head_dim]
    layers.N.mlp_norm.weight   [size]
    layers.N.up_gate.weight   [2 * inner, size]   the rows of up, then those of gate
    layers.N.down.weight   [size, inner]
    norm.weight   [size]
    head.weight   [vocabulary, size]   absent where the embedding serves as the head

A linear may have a `.bias`, and has a `.scale` where its weight is int8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from openhearth.models.layers.rope import interleave
from openhearth.models.loading.config import DecoderConfig

Load = Callable[[str], Tensor]

LAYER_LINEARS: tuple[str, ...] = ("qkv", "o", "up_gate", "down")


def layer_prefix(index: int) -> str:
    return f"layers.{index}"


def layer_tensors(config: DecoderConfig, index: int, load: Load) -> dict[str, Tensor]:
    """Layer `index` in the engine's layout, without its prefix. `load` gives a checkpoint tensor by name, float32."""
    source = f"model.layers.{index}"
    attention = f"{source}.self_attn"

    def project(kind: str) -> Tensor:
        query = interleave(load(f"{attention}.q_proj.{kind}"), config.heads)
        key = interleave(load(f"{attention}.k_proj.{kind}"), config.kv_heads)
        return torch.cat([query, key, load(f"{attention}.v_proj.{kind}")])

    tensors = {
        "attention_norm.weight": load(f"{source}.input_layernorm.weight"),
        "qkv.weight": project("weight"),
        "o.weight": load(f"{attention}.o_proj.weight"),
        "mlp_norm.weight": load(f"{source}.post_attention_layernorm.weight"),
        "up_gate.weight": torch.cat([load(f"{source}.mlp.{name}_proj.weight") for name in ("up", "gate")]),
        "down.weight": load(f"{source}.mlp.down_proj.weight"),
    }
    if config.attention_bias:
        tensors["qkv.bias"] = project("bias")
    return tensors


def linear_names(config: DecoderConfig) -> tuple[str, ...]:
    """Everything that has a precision of its own: the linears, and the embedding. A head that the embedding serves as
    has one too, although it has no weight: the same int8 numbers can be computed with in either int8 kind."""
    layers = [f"{layer_prefix(index)}.{name}" for index in range(config.layers) for name in LAYER_LINEARS]
    return ("embedding", *layers, "head")


def tensor_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the layout, scales aside."""
    size, inner = config.hidden_size, config.intermediate_size
    projected = (config.heads + 2 * config.kv_heads) * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm.weight": (size,),
        "qkv.weight": (projected, size),
        "o.weight": (size, config.heads * config.head_dim),
        "mlp_norm.weight": (size,),
        "up_gate.weight": (2 * inner, size),
        "down.weight": (size, inner),
    }
    if config.attention_bias:
        layer["qkv.bias"] = (projected,)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, size), "norm.weight": (size,)}
    for index in range(config.layers):
        shapes |= {f"{layer_prefix(index)}.{name}": shape for name, shape in layer.items()}
    if not config.tie_embeddings:
        shapes["head.weight"] = (config.vocab_size, size)
    return shapes
