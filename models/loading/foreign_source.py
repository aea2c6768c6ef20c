"""A checkpoint for transformers as a TensorSource; see architectures/foreign.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch

from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.hf_config import token_fields
from openhearth.models.loading.hf_values import Values, read_json
from openhearth.models.loading.safetensors_source import read_chat_template, read_tokenizer
from openhearth.models.loading.shards import Shards
from openhearth.models.loading.source import Blocks

_DEFAULT_CONTEXT = 2048


class ForeignSource:
    """See TensorSource. The tensors are those of the file, under its names.

    Opening it runs the model on a few tokens, for what its config does not say. Raises ModelUnavailableError for an
    architecture that cannot run here.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._shards = Shards(path)
        try:
            self._config = self._inspect()
        except BaseException:
            self._shards.close()
            raise

    def names(self) -> Sequence[str]:
        return tuple(self._shards.names())

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shards.entry(name).shape

    def load(self, name: str) -> torch.Tensor:
        return self._shards.tensor(name).to(torch.float32, copy=True)

    def blocks(self, name: str) -> Blocks | None:
        return None

    def config(self) -> DecoderConfig:
        return self._config

    def tokenizer(self) -> tokenizers.Tokenizer:
        return read_tokenizer(self._folder)

    def chat_template(self) -> str | None:
        return read_chat_template(self._folder)

    def close(self) -> None:
        self._shards.close()

    def _inspect(self) -> DecoderConfig:
        # transformers takes seconds to import.
        from openhearth.models.architectures.foreign import load_foreign
        from openhearth.models.architectures.foreign_check import check_foreign, foreign_shapes

        values = Values(self._folder / "config.json", read_json(self._folder / "config.json"))
        if values.raw.get("quantization_config") is not None:
            raise values.not_ours("a checkpoint that is already quantised")
        tensors = {name: self._shards.tensor(name) for name in self._shards.names()}
        stored = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        model = load_foreign(values.raw, tensors, torch.float32 if stored == {torch.float32} else torch.bfloat16)
        shapes = foreign_shapes(model)
        config: Any = model.config.get_text_config()
        result = DecoderConfig(
            architecture="transformers",
            vocab_size=int(config.vocab_size),
            hidden_size=int(config.hidden_size),
            intermediate_size=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
            layers=shapes.layers,
            heads=shapes.heads,
            kv_heads=shapes.kv_heads,
            head_dim=shapes.head_dim,
            rms_eps=1e-6,
            rope_theta=10_000.0,
            rope_scaling=None,
            max_context=_context(config, windowed=shapes.windowed),
            tie_embeddings=bool(config.tie_word_embeddings),
            attention_bias=False,
            foreign=values.raw,
            **token_fields(self._folder, values, values),
        )
        check_foreign(model, result)
        return result


def _context(config: Any, *, windowed: bool) -> int:
    """The longest text on which the model does the same however much of it is read at once."""
    context = int(getattr(config, "max_position_embeddings", None) or _DEFAULT_CONTEXT)
    window = getattr(config, "sliding_window", None)
    if isinstance(window, int) and window > 0 and not windowed:
        context = min(context, window)  # its layers do not say which of them have it
    chunk = getattr(config, "attention_chunk_size", None)
    if isinstance(chunk, int) and chunk > 0:
        context = min(context, chunk)
    rope = getattr(config, "rope_parameters", None)
    for parameters in [rope, *rope.values()] if isinstance(rope, dict) else []:
        if isinstance(parameters, dict) and parameters.get("rope_type") in ("dynamic", "longrope"):
            # Their frequencies change with the length of the text, and kept keys would not.
            context = min(context, int(parameters.get("original_max_position_embeddings") or context))
    return context
