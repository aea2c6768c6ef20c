"""Tiny models as GGUF files, written by the rules of llama.cpp's converter over the reference writer of its project."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import safetensors.torch
import torch
from gguf.constants import MODEL_ARCH_NAMES
from support.tiny import tiny_tokenizer
from torch import Tensor
from transformers import PreTrainedModel

_ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3moe",
    "SmolLM3ForCausalLM": "smollm3",
    "GraniteForCausalLM": "granite",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Phi3ForCausalLM": "phi3",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo2",
    "OlmoeForCausalLM": "olmoe",
    "StableLmForCausalLM": "stablelm",
}
_PERMUTED = ("llama", "smollm3", "granite")
_GEMMAS = ("gemma", "gemma2", "gemma3")
_EXPERT = re.compile(r"(.*\.mlp\.experts)\.\d+\.(\w+)\.weight")


def write_gguf(model: PreTrainedModel, checkpoint: Path, path: Path) -> None:
    """Write `model`, which was saved to the folder `checkpoint`, to `path`, in float32."""
    config: Any = model.config
    architecture = _ARCHITECTURES[type(model).__name__]
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**_sizes(config, architecture), **_traits(config, architecture)}.items():
        _add(writer, f"{architecture}.{key}", value)
    _add_tokenizer(writer)
    for name, tensor in (*_tensors(config, architecture, checkpoint), *_factors(config)):
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _sizes(config: Any, architecture: str) -> dict[str, Any]:
    layer_norm = architecture == "stablelm"
    epsilon = "attention.layer_norm_epsilon" if layer_norm else "attention.layer_norm_rms_epsilon"
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": _head_dim(config),
        "attention.value_length": _head_dim(config),
        epsilon: config.layer_norm_eps if layer_norm else config.rms_norm_eps,
    }


def _rope(config: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = config.rope_parameters
    return parameters.get("full_attention", parameters)


def _traits(config: Any, architecture: str) -> dict[str, Any]:
    rope = _rope(config)
    traits: dict[str, Any] = {"rope.freq_base": float(rope["rope_theta"])}
    if rope["rope_type"] in ("linear", "yarn"):
        traits |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    if rope["rope_type"] in ("yarn", "longrope"):
        traits["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    if rope["rope_type"] == "longrope":
        ratio, original = config.max_position_embeddings / (o := rope["original_max_position_embeddings"]), o
        traits["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(ratio) / math.log(original))
    if architecture in ("phi3", "stablelm"):
        traits["rope.dimension_count"] = int(_head_dim(config) * rope.get("partial_rotary_factor", 1.0))
    if getattr(config, "sliding_window", None) and architecture in ("gemma2", "gemma3", "phi3", "olmo2"):
        traits["attention.sliding_window"] = config.sliding_window
    if architecture in ("qwen3moe", "olmoe"):
        traits |= {"expert_count": config.num_experts, "expert_used_count": config.num_experts_per_tok}
    if architecture == "qwen3moe":
        traits["expert_feed_forward_length"] = config.moe_intermediate_size
    if architecture == "gemma2":
        traits["attn_logit_softcapping"] = float(config.attn_logit_softcapping)
        traits["final_logit_softcapping"] = float(config.final_logit_softcapping)
    if architecture == "granite":
        traits["attention.scale"] = float(config.attention_multiplier)
        traits["embedding_scale"] = float(config.embedding_multiplier)
        traits["residual_scale"] = float(config.residual_multiplier)
        traits["logit_scale"] = float(config.logits_scaling)
    return traits


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    vocabulary = tiny_tokenizer().get_vocab()
    tokens = ["th", *sorted(vocabulary, key=lambda token: vocabulary[token])[1:]]
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "gpt-2")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array(
        "tokenizer.ggml.token_type", [3 if token.startswith("<") and len(token) > 2 else 1 for token in tokens]
    )
    writer.add_array("tokenizer.ggml.merges", ["t h"])
    writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 2)


def _tensors(config: Any, architecture: str, checkpoint: Path) -> Iterator[tuple[str, Tensor]]:
    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    stacks: dict[str, list[Tensor]] = {}
    for name, tensor in safetensors.torch.load_file(checkpoint / "model.safetensors").items():
        if match := _EXPERT.fullmatch(name):
            stacks.setdefault(f"{match[1]}.{match[2]}.weight", []).append(tensor)
            continue
        if architecture in _PERMUTED and ".q_proj." in name:
            tensor = _permute(tensor, config.num_attention_heads)
        elif architecture in _PERMUTED and ".k_proj." in name:
            tensor = _permute(tensor, config.num_key_value_heads)
        elif architecture in _GEMMAS and name.endswith("norm.weight"):
            tensor = tensor + 1
        yield _named(names, name), tensor
    for name, tensors in stacks.items():
        yield _named(names, name), torch.stack(tensors)


def _named(names: Any, name: str) -> str:
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    assert found is not None, name
    return str(found)


def _permute(tensor: Tensor, heads: int) -> Tensor:
    half = tensor.shape[0] // heads // 2
    return tensor.view(heads, 2, half, -1).transpose(1, 2).reshape(tensor.shape)


def _factors(config: Any) -> Iterator[tuple[str, Tensor]]:
    rope = _rope(config)
    if rope["rope_type"] == "longrope":
        yield "rope_factors_long.weight", torch.tensor(rope["long_factor"])
        yield "rope_factors_short.weight", torch.tensor(rope["short_factor"])
    if rope["rope_type"] == "llama3":
        yield "rope_freqs.weight", torch.tensor(_llama3_factors(config, rope))


def _llama3_factors(config: Any, rope: dict[str, Any]) -> list[float]:
    dim, original = _head_dim(config), rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    factors = []
    for i in range(0, dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(float(factor))
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors
