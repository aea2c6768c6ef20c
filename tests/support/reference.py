"""The transformers model that a checkpoint describes, built from what our own reader reads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from openhearth.models.loading.source import open_source


def transformers_model(path: Path) -> PreTrainedModel:
    """In float32, with the weights in memory once."""
    source = open_source(path)
    c = source.config()
    assert c.rope_scaling is None
    config_type, model_type = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }[c.architecture]
    config = config_type(
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        intermediate_size=c.intermediate_size,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        max_position_embeddings=c.max_context,
        rms_norm_eps=c.rms_eps,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        tie_word_embeddings=c.tie_embeddings,
    )
    with torch.device("meta"):
        model = model_type(config).eval()
    weights = {name: source.load(name) for name in source.names()}
    if c.tie_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    # Its frequencies are no weights, and were made on the meta device.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    source.close()
    return model
