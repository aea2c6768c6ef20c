"""Which tensors a checkpoint of a config holds: their Hugging Face names and shapes, as every TensorSource shows them.

Two things are alike in all sources, whatever the file does: experts are stacked, so that
`model.layers.0.mlp.experts.up_proj.weight` is [experts, inner, size]; and a norm's weight is what it multiplies by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openhearth.models.loading.config import DecoderConfig, NormPlace

NORMS: Mapping[NormPlace, Mapping[str, str]] = {
    "before": {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "after": {"attention_post_norm": "post_attention_layernorm", "mlp_post_norm": "post_feedforward_layernorm"},
    "around": {
        "attention_norm": "input_layernorm",
        "attention_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    },
}
"""A layer's norms: the engine's names (architectures/layout.py) and Hugging Face's."""

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def checkpoint_tensors(config: DecoderConfig) -> Shapes:
    """Every tensor of the checkpoint, one by one: a config may announce more than a file could hold."""
    vocabulary = (config.vocab_size, config.hidden_size)
    yield "model.embed_tokens.weight", vocabulary
    for index in range(config.layers):
        for name, shape in layer_tensors(config, index):
            yield f"model.layers.{index}.{name}", shape
    yield from _norm(config, "model.norm")
    if not config.tie_embeddings:
        yield "lm_head.weight", vocabulary


def layer_tensors(config: DecoderConfig, index: int) -> Shapes:
    """Those of layer `index`, without its prefix."""
    for name in NORMS[config.norm_place].values():
        yield from _norm(config, name)
    yield from _attention(config)
    yield from _experts(config) if config.is_sparse(index) else _feed_forward(config)


def _norm(config: DecoderConfig, name: str) -> Shapes:
    yield f"{name}.weight", (config.hidden_size,)
    if config.norm == "layer":
        yield f"{name}.bias", (config.hidden_size,)


def _attention(config: DecoderConfig) -> Shapes:
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    rows = {"qkv": query + 2 * key} if config.family.fused_attention else {"q": query, "k": key, "v": key}
    for name, count in rows.items():
        yield f"self_attn.{name}_proj.weight", (count, config.hidden_size)
        if config.attention_bias:
            yield f"self_attn.{name}_proj.bias", (count,)
    if config.qk_norm != "none":
        whole = config.qk_norm == "whole"
        yield "self_attn.q_norm.weight", (query if whole else config.head_dim,)
        yield "self_attn.k_norm.weight", (key if whole else config.head_dim,)
    yield "self_attn.o_proj.weight", (config.hidden_size, query)
    if config.output_bias:
        yield "self_attn.o_proj.bias", (config.hidden_size,)


def _feed_forward(config: DecoderConfig) -> Shapes:
    size, inner = config.hidden_size, config.intermediate_size
    rows = {"gate_up": 2 * inner} if config.family.fused_mlp else {"gate": inner, "up": inner}
    for name, count in rows.items():
        yield f"mlp.{name}_proj.weight", (count, size)
        if config.mlp_bias:
            yield f"mlp.{name}_proj.bias", (count,)
    yield "mlp.down_proj.weight", (size, inner)
    if config.mlp_bias:
        yield "mlp.down_proj.bias", (size,)


def _experts(config: DecoderConfig) -> Shapes:
    assert config.experts is not None
    count, size, inner = config.experts.count, config.hidden_size, config.experts.size
    yield "mlp.gate.weight", (count, size)
    yield "mlp.experts.gate_proj.weight", (count, inner, size)
    yield "mlp.experts.up_proj.weight", (count, inner, size)
    yield "mlp.experts.down_proj.weight", (count, size, inner)
