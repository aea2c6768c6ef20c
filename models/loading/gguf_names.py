"""GGUF's tensor names and Hugging Face's."""

from __future__ import annotations

import re

from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.tensors import NORMS

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCKS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
}
_NORMS = {
    "attn_norm": "attention_norm",
    "post_attention_norm": "attention_post_norm",
    "ffn_norm": "mlp_norm",
    "post_ffw_norm": "mlp_post_norm",
}
"""GGUF's names and the engine's; Hugging Face's depend on where the norms stand."""
_IN_LAYER = re.compile(r"blk\.(0|[1-9]\d{0,5})\.([a-z_]+)\.(weight|bias)")
_AT_TOP = re.compile(r"([a-z_]+)\.(weight|bias)")


def hugging_face_name(name: str, config: DecoderConfig) -> str | None:
    """`blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`; None for an unknown name."""
    if match := _AT_TOP.fullmatch(name):
        return f"{_TOP[match[1]]}.{match[2]}" if match[1] in _TOP else None
    match = _IN_LAYER.fullmatch(name)
    if match is None:
        return None
    part = _part(match[2], config)
    return None if part is None else f"model.layers.{match[1]}.{part}.{match[3]}"


def _part(name: str, config: DecoderConfig) -> str | None:
    if name in _NORMS:
        return NORMS[config.norm_place].get(_NORMS[name])
    if name == "ffn_up" and config.family.fused_mlp:
        return "mlp.gate_up_proj"
    return _BLOCKS.get(name)
