"""A tiny model of every family, with each trait small enough to matter within a hundred tokens."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from support.tiny import VOCABULARY, tiny_tokenizer
from transformers import PreTrainedModel

LENGTH = 96
"""Tokens of a text in the tests, longer than every window and every original length below."""

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Tiny:
    """A transformers model class by its prefix, and what its config changes. `gguf`: whether GGUF files hold it."""

    kind: str
    changes: dict[str, Any] = field(default_factory=dict)
    gguf: bool = True
    length: int = LENGTH


def _rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **parameters}}


_ORIGINAL = {"original_max_position_embeddings": 32}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3}
_LONG = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 3.5, 5.0]}
_PHI = {"head_dim": 16, "partial_rotary_factor": 0.5, "max_position_embeddings": LENGTH} | _ORIGINAL
_GEMMA = {"head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 20, "num_hidden_layers": 4}
_GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.2,
    "logits_scaling": 2.5,
    "tie_word_embeddings": True,
}

TINY: dict[str, Tiny] = {
    "llama": Tiny("Llama"),
    "llama, biases everywhere": Tiny("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, linear": Tiny("Llama", _rope("linear", factor=4.0)),
    "llama, llama3": Tiny("Llama", _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, **_ORIGINAL)),
    "llama, dynamic": Tiny("Llama", {"max_position_embeddings": 32, **_rope("dynamic", factor=4.0)}, gguf=False),
    "llama, dynamic within its length": Tiny(
        "Llama", {"max_position_embeddings": 32, **_rope("dynamic", factor=4.0)}, gguf=False, length=32
    ),
    "mistral": Tiny("Mistral", {"sliding_window": 24, "head_dim": 24}, gguf=False),
    "qwen2": Tiny("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, yarn": Tiny("Qwen2", _rope("yarn", factor=4.0, **_ORIGINAL)),
    "qwen2, yarn with its own sharpness": Tiny(
        "Qwen2", _rope("yarn", factor=4.0, mscale=0.7, mscale_all_dim=1.2, truncate=False, **_ORIGINAL), gguf=False
    ),
    "qwen2, late windows": Tiny(
        "Qwen2", {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 2}, gguf=False
    ),
    "qwen3": Tiny("Qwen3", {"head_dim": 32}),
    "qwen3moe": Tiny("Qwen3Moe", {**_EXPERTS, "moe_intermediate_size": 48, "norm_topk_prob": True, "head_dim": 24}),
    "qwen3moe, dense layers": Tiny(
        "Qwen3Moe", {**_EXPERTS, "moe_intermediate_size": 48, "mlp_only_layers": [1]}, gguf=False
    ),
    "smollm3": Tiny("SmolLM3", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "smollm3, windows": Tiny(
        "SmolLM3", {"num_hidden_layers": 4, "use_sliding_window": True, "sliding_window": 24}, gguf=False
    ),
    "granite": Tiny("Granite", _GRANITE),
    "granite 4": Tiny(
        "GraniteMoeHybrid",
        _GRANITE
        | {"layer_types": ["full_attention"] * 3, "num_local_experts": 0, "shared_intermediate_size": 80}
        | {"position_embedding_type": "rope", "mamba_n_heads": 4, "mamba_expand": 2},
        gguf=False,
    ),
    "granite 4, no positions": Tiny(
        "GraniteMoeHybrid",
        _GRANITE
        | {"layer_types": ["full_attention"] * 3, "num_local_experts": 0, "shared_intermediate_size": 80}
        | {"mamba_n_heads": 4, "mamba_expand": 2},
        gguf=False,
    ),
    "gemma": Tiny("Gemma", {"head_dim": 24, "tie_word_embeddings": True}),
    "gemma2": Tiny(
        "Gemma2",
        _GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "tie_word_embeddings": True},
        gguf=False,
    ),
    "gemma3": Tiny(
        "Gemma3",
        _GEMMA
        | {"tie_word_embeddings": True, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]}
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
            }
        },
        gguf=False,
    ),
    "gemma2, as in GGUF": Tiny("Gemma2", _GEMMA | {"query_pre_attn_scalar": 24, "tie_word_embeddings": True}),
    "gemma3, as in GGUF": Tiny(
        "Gemma3", _GEMMA | {"query_pre_attn_scalar": 24, "num_hidden_layers": 7, "tie_word_embeddings": True}
    ),
    "phi3": Tiny("Phi3", {"sliding_window": 24}),
    "phi3, longrope": Tiny("Phi3", _PHI | _rope("longrope", partial_rotary_factor=0.5, **_LONG)),
    "phi3, longrope within its length": Tiny(
        "Phi3", _PHI | _rope("longrope", partial_rotary_factor=0.5, **_LONG), length=32
    ),
    "olmo2": Tiny("Olmo2"),
    "olmo3": Tiny(
        "Olmo3",
        {
            "num_hidden_layers": 4,
            "sliding_window": 24,
            "rope_parameters": {
                "full_attention": {"rope_type": "yarn", "factor": 3.0, "rope_theta": 10_000.0, **_ORIGINAL},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        },
    ),
    "olmoe": Tiny("Olmoe", _EXPERTS),
    "stablelm": Tiny("StableLm", _rope("default", partial_rotary_factor=0.25) | {"use_qkv_bias": True}),
}


def tiny_family(folder: Path, name: str, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Write the checkpoint `name` of `TINY` into `folder`; gives its transformers model, in float32."""
    tiny = TINY[name]
    model_type: Any = getattr(transformers, f"{tiny.kind}ForCausalLM")
    torch.manual_seed(seed)
    model: PreTrainedModel = model_type(_config(tiny, changes)).eval()
    offset = 1.0 if tiny.kind.startswith("Gemma") else 0.0
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # transformers begins with norms of one and biases of zero, which would hide where they are used.
            if "norm" in parameter_name and parameter_name.endswith("weight"):
                parameter.uniform_(0.5 - offset, 1.5 - offset)
            elif parameter_name.endswith("bias"):
                parameter.normal_(std=0.3)
            else:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return model


def tiny_config(name: str) -> dict[str, Any]:
    """The config.json of the checkpoint `name`."""
    tiny = TINY[name]
    config = _config(tiny, {})
    config.architectures = [f"{tiny.kind}ForCausalLM"]
    values: dict[str, Any] = json.loads(config.to_json_string())
    return values


def _config(tiny: Tiny, changes: dict[str, Any]) -> Any:
    config_type: Any = getattr(transformers, f"{tiny.kind}{'Text' if tiny.kind == 'Gemma3' else ''}Config")
    return config_type(**{**_SIZES, **copy.deepcopy(tiny.changes), **changes})
