from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.tiny import decoder_config

from openhearth.models.loading.gguf_names import hugging_face_name


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("token_embd.weight", {}, "model.embed_tokens.weight"),
        ("output_norm.bias", {}, "model.norm.bias"),
        ("blk.12.attn_q.bias", {}, "model.layers.12.self_attn.q_proj.bias"),
        ("blk.0.ffn_norm.weight", {}, "model.layers.0.post_attention_layernorm.weight"),
        ("blk.0.ffn_norm.weight", {"norm_place": "around"}, "model.layers.0.pre_feedforward_layernorm.weight"),
        ("blk.0.post_ffw_norm.weight", {"norm_place": "after"}, "model.layers.0.post_feedforward_layernorm.weight"),
        ("blk.0.attn_norm.weight", {"norm_place": "after"}, None),
        ("blk.0.post_ffw_norm.weight", {}, None),
        ("blk.0.ffn_up.weight", {}, "model.layers.0.mlp.up_proj.weight"),
        ("blk.0.ffn_up.weight", {"architecture": "phi3"}, "model.layers.0.mlp.gate_up_proj.weight"),
        ("blk.0.ffn_down_exps.weight", {}, "model.layers.0.mlp.experts.down_proj.weight"),
        ("blk.01.attn_q.weight", {}, None),
        ("blk.-1.attn_q.weight", {}, None),
        ("blk.1.attn_q.scale", {}, None),
        ("blk.1.moe.weight", {}, None),
        ("attn_q", {}, None),
        ("attn_q.weight", {}, None),
        ("blk.99999999999999.attn_q.weight", {}, None),
    ],
)
def test_names(name: str, change: dict[str, Any], expected: str | None) -> None:
    assert hugging_face_name(name, dataclasses.replace(decoder_config(), **change)) == expected
