"""From a GGUF file's metadata to a DecoderConfig."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import ARCHITECTURES, DecoderConfig, unsupported_architecture
from openhearth.models.loading.gguf import GgufFile

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


def gguf_config(file: GgufFile) -> DecoderConfig:
    """Read the metadata. Raises ModelUnavailableError for an architecture that is not supported."""
    values = _Metadata(file.path, file.metadata)
    architecture = values.text("general.architecture")
    if architecture not in ARCHITECTURES:
        raise unsupported_architecture(architecture)
    hidden = values.whole(f"{architecture}.embedding_length")
    heads = values.whole(f"{architecture}.attention.head_count")
    head_dim = values.whole(f"{architecture}.attention.key_length", default=hidden // heads if heads else 0)
    for key in ("attention.value_length", "rope.dimension_count"):
        if values.whole(f"{architecture}.{key}", default=head_dim) != head_dim:
            raise ModelUnavailableError(
                f"{file.path}: {architecture}.{key} differs from the head size {head_dim}; such decoders are unknown."
            )
    tokens = values.strings("tokenizer.ggml.tokens")
    return DecoderConfig(
        architecture=architecture,
        vocab_size=len(tokens),
        hidden_size=hidden,
        intermediate_size=values.whole(f"{architecture}.feed_forward_length"),
        layers=values.whole(f"{architecture}.block_count"),
        heads=heads,
        kv_heads=values.whole(f"{architecture}.attention.head_count_kv", default=heads),
        head_dim=head_dim,
        rms_eps=values.real(f"{architecture}.attention.layer_norm_rms_epsilon"),
        rope_theta=values.real(f"{architecture}.rope.freq_base", default=10_000.0),
        rope_scaling=_rope_scaling(file, values, architecture),
        max_context=values.whole(f"{architecture}.context_length"),
        tie_embeddings="output.weight" not in file.tensors,
        attention_bias="blk.0.attn_q.bias" in file.tensors,
        bos_id=values.token("tokenizer.ggml.bos_token_id", len(tokens)),
        eos_ids=_end_tokens(values, tokens),
        add_bos=values.flag("tokenizer.ggml.add_bos_token", default=file.metadata.get(PRE_KEY) in _BOS_BY_DEFAULT),
    )


PRE_KEY = "tokenizer.ggml.pre"
_BOS_BY_DEFAULT = frozenset({"llama-bpe", "llama3", "llama-v3"})


def _rope_scaling(file: GgufFile, values: _Metadata, architecture: str) -> dict[str, Any] | None:
    if "rope_freqs.weight" in file.tensors:
        factors: torch.Tensor = file.load("rope_freqs.weight")
        return {"rope_type": "factors", "factors": factors.flatten().tolist()}
    kind = values.text(f"{architecture}.rope.scaling.type", default="none")
    if kind == "none":
        return None
    scaling: dict[str, Any] = {"rope_type": kind, "factor": values.real(f"{architecture}.rope.scaling.factor")}
    original = values.whole(f"{architecture}.rope.scaling.original_context_length", default=0)
    return scaling | ({"original_max_position_embeddings": original} if original else {})


def _end_tokens(values: _Metadata, tokens: list[str]) -> tuple[int, ...]:
    named = [values.token(f"tokenizer.ggml.{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom")]
    kinds = values.numbers("tokenizer.ggml.token_type", len(tokens))
    control = np.flatnonzero(kinds == _CONTROL).tolist() if kinds is not None else []
    known = [index for index in control if tokens[index] in END_TOKENS]
    return tuple(dict.fromkeys(index for index in (*named, *known) if index is not None))


class _Metadata:
    """Typed look-ups; a missing or wrongly typed value is a MalformedFileError that names the key."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "one whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        # The file holds float32; its shortest decimal is the number that was meant (1e-06, not 9.999999974752427e-07).
        return float(str(np.float32(value)))

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def strings(self, key: str) -> list[str]:
        value = self._get(key, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "an array of strings")
        return value

    def numbers(self, key: str, count: int) -> np.ndarray[Any, np.dtype[Any]] | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or len(value) != count:
            raise self._wrong(key, f"an array of {count} numbers")
        return value

    def token(self, key: str, vocabulary: int) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocabulary:
            raise self._wrong(key, f"a token id below {vocabulary}")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise MalformedFileError(f"{self._path}: the metadata lacks {key}.", hint="Fetch the file again.")
        return value

    def _wrong(self, key: str, wanted: str) -> MalformedFileError:
        return MalformedFileError(f"{self._path}: the metadata's {key} is not {wanted}.", hint="Fetch the file again.")
