"""Tiny models with random weights, as checkpoints on disk and as the transformers models that say what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from openhearth.models.loading.config import DecoderConfig

VOCABULARY = 260
END = 2

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 1,
    "eos_token_id": END,
    "initializer_range": 0.15,
}


def tiny_model(folder: Path, architecture: str = "llama", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Write a checkpoint into `folder` and return its transformers model, in float32 and ready to be asked."""
    config_type, model_type = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }[architecture]
    torch.manual_seed(seed)
    model = model_type(config_type(**{**_SIZES, "tie_word_embeddings": False, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # transformers begins with norms of one and biases of zero, which would hide where they are used.
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return model


def decoder_config() -> DecoderConfig:
    """A small config of a standard decoder, to be changed by `dataclasses.replace`."""
    return DecoderConfig(
        architecture="qwen2",
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        rms_eps=1e-6,
        rope_theta=1e6,
        rope_scaling={"rope_type": "linear", "factor": 2.0},
        max_context=128,
        tie_embeddings=False,
        attention_bias=True,
        bos_id=None,
        eos_ids=(3, 4),
        add_bos=False,
    )


def random_ids(count: int, *, seed: int = 1) -> list[int]:
    """Token ids without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (count,), generator=generator).tolist()  # type: ignore[no-any-return]


def tiny_tokenizer() -> tokenizers.Tokenizer:
    """One token for each byte."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "<s>", "</s>", "<unk>", *letters]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer
