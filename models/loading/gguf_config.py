"""From a GGUF file's metadata to a DecoderConfig."""

from __future__ import annotations

from typing import Any

import numpy as np

from openhearth.errors import ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig, useful_windows
from openhearth.models.loading.families import BY_GGUF, unsupported_architecture
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_families import family_fields
from openhearth.models.loading.gguf_metadata import Metadata
from openhearth.models.loading.gguf_rope import rope_fields

END_TOKENS = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<end_of_turn>",
        "<EOT>",
        "</s>",
    }
)
"""Control tokens that end a reply whichever of them the metadata names: files often name one of two."""

_CONTROL = 3
_BOS_BY_DEFAULT = frozenset({"llama-bpe", "llama3", "llama-v3"})


def gguf_config(file: GgufFile) -> DecoderConfig:
    """Read the metadata. Raises ModelUnavailableError for an architecture that is not supported."""
    values = Metadata(file.path, file.metadata)
    architecture = values.text("general.architecture")
    if architecture not in BY_GGUF:
        raise unsupported_architecture(architecture)
    family = BY_GGUF[architecture]
    hidden = values.whole(f"{architecture}.embedding_length")
    heads = values.whole(f"{architecture}.attention.head_count")
    head_dim = values.whole(f"{architecture}.attention.key_length", default=hidden // heads if heads else 0)
    if values.whole(f"{architecture}.attention.value_length", default=head_dim) != head_dim:
        raise ModelUnavailableError(
            f"{file.path}: values are not of the keys' size {head_dim}; such decoders are unknown."
        )
    tokens = values.strings("tokenizer.ggml.tokens")
    kind = values.text("tokenizer.ggml.model", default="")
    begins = kind == "llama" or values.text("tokenizer.ggml.pre", default="") in _BOS_BY_DEFAULT
    fields: dict[str, Any] = {
        "architecture": family.name,
        "vocab_size": len(tokens),
        "hidden_size": hidden,
        "intermediate_size": values.whole(f"{architecture}.feed_forward_length"),
        "layers": values.whole(f"{architecture}.block_count"),
        "heads": heads,
        "kv_heads": values.whole(f"{architecture}.attention.head_count_kv", default=heads),
        "head_dim": head_dim,
        "tie_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors or "blk.0.attn_qkv.bias" in file.tensors,
        "output_bias": "blk.0.attn_output.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_down.bias" in file.tensors,
        "bos_id": values.token("tokenizer.ggml.bos_token_id", len(tokens)),
        "eos_ids": _end_tokens(values, tokens),
        "add_bos": values.flag("tokenizer.ggml.add_bos_token", default=begins),
    }
    fields |= rope_fields(file, values, family, architecture, head_dim)
    fields |= family_fields(family, values, architecture, fields)
    if fields.get("window_theta") is None:
        fields["windows"] = useful_windows(fields.get("windows", ()), fields["max_context"])
    return DecoderConfig(**fields)


def _end_tokens(values: Metadata, tokens: list[str]) -> tuple[int, ...]:
    named = [values.token(f"tokenizer.ggml.{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom")]
    kinds = values.numbers("tokenizer.ggml.token_type", len(tokens))
    control = np.flatnonzero(kinds == _CONTROL).tolist() if kinds is not None else []
    known = [index for index in control if tokens[index] in END_TOKENS]
    return tuple(dict.fromkeys(index for index in (*named, *known) if index is not None))
