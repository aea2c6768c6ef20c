"""An embedding model on disk: a folder as Hugging Face and sentence-transformers publish it, read in place.

config.json         what `EncoderConfig` reads
model.safetensors   the weights, mapped: two processes share their pages
tokenizer.json      a `tokenizers` file
1_Pooling/config.json, sentence_bert_config.json   optional: how texts are pooled, and how long they may be
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tokenizers
import torch
from pydantic import ValidationError
from torch import Tensor

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.architectures.encoder import EncoderConfig, tensor_shapes
from openhearth.models.loading.hf_values import read_json
from openhearth.models.loading.safetensors import SafetensorsFile

Pooling = Literal["mean", "first"]
"""One vector from a text's hidden states: their mean, or that of its first token."""

_AGAIN = "Fetch the model again."
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_MODES: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


@dataclass(frozen=True, slots=True)
class EmbeddingFiles:
    """What the folder holds, checked. `limit` is the longest text in tokens, special ones included; the
    tokenizer truncates there."""

    config: EncoderConfig
    tensors: dict[str, Tensor]
    tokenizer: tokenizers.Tokenizer
    pooling: Pooling
    limit: int


def read_embedding_files(folder: Path) -> EmbeddingFiles:
    """Raises ModelUnavailableError for what is missing or not supported, MalformedFileError for what is damaged."""
    config = _config(folder)
    tokenizer = _tokenizer(folder, config)
    limit = _limit(folder, config, tokenizer)
    tokenizer.enable_truncation(limit)
    return EmbeddingFiles(config, _tensors(folder / "model.safetensors", config), tokenizer, _pooling(folder), limit)


def _config(folder: Path) -> EncoderConfig:
    values = read_json(folder / "config.json")
    if values.get("model_type") != "bert":
        raise ModelUnavailableError(
            f"{folder} holds a model of type {values.get('model_type')!r}, which cannot embed texts here.",
            hint="Supported are BERT encoders, such as all-MiniLM and bge.",
        )
    try:
        return EncoderConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise MalformedFileError(f"{folder / 'config.json'}: {problems}.", hint=_AGAIN) from error


def _limit(folder: Path, config: EncoderConfig, tokenizer: tokenizers.Tokenizer) -> int:
    file, longest = folder / "sentence_bert_config.json", config.max_position_embeddings
    limit = read_json(file, optional=True).get("max_seq_length") or longest
    least = tokenizer.num_special_tokens_to_add(False) + 1
    if isinstance(limit, bool) or not isinstance(limit, int) or min(limit, longest) < least:
        raise MalformedFileError(
            f"{file}: texts of at most {limit!r} tokens, where the model reads {least} to {longest}.", hint=_AGAIN
        )
    return min(limit, longest)


def _tensors(file: Path, config: EncoderConfig) -> dict[str, Tensor]:
    with SafetensorsFile(file) as weights:
        # Checkpoints with a head of their own keep the encoder beneath a name.
        prefix = "bert." if any(name.startswith("bert.") for name in weights.tensors) else ""
        tensors = {}
        for name, shape in tensor_shapes(config).items():
            entry = weights.tensors.get(prefix + name)
            if entry is None or entry.shape != shape or entry.dtype not in _FLOATS:
                found = "is missing" if entry is None else f"is {entry.dtype} {entry.shape} instead of floats {shape}"
                raise MalformedFileError(f"{file}: the tensor {prefix}{name} {found}.", hint=_AGAIN)
            tensors[name] = weights.tensor(prefix + name).float()
    return tensors


def _tokenizer(folder: Path, config: EncoderConfig) -> tokenizers.Tokenizer:
    """The tokenizer, without the padding that its file may ask for."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelUnavailableError(f"There is no {file}.", hint="Fetch it from where the weights came from.")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust extension raises bare Exception
        raise MalformedFileError(f"{file}: {error}.", hint=_AGAIN) from error
    tokenizer.no_padding()
    last = max(tokenizer.get_vocab().values(), default=0)
    if last >= config.vocab_size:
        raise MalformedFileError(f"{file}: the model knows no token {last}.", hint=_AGAIN)
    return tokenizer


def _pooling(folder: Path) -> Pooling:
    file = folder / "1_Pooling" / "config.json"
    values = read_json(file, optional=True)
    chosen = [key for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in _MODES:
        raise ModelUnavailableError(
            f"{file} asks for {', '.join(chosen)}, which is not supported.", hint=f"Supported are {', '.join(_MODES)}."
        )
    return _MODES[chosen[0]]
