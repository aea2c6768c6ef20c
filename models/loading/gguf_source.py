"""A GGUF file as a TensorSource."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.ggml_types import BLOCK_SIZES
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_config import gguf_config
from openhearth.models.loading.gguf_names import hugging_face_name
from openhearth.models.loading.gguf_rope import FACTOR_TENSORS
from openhearth.models.loading.gguf_tokenizer import gguf_tokenizer
from openhearth.models.loading.source import Blocks
from openhearth.models.loading.tensors import checkpoint_tensors


class GgufSource:
    """See TensorSource."""

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        try:
            self._config = gguf_config(self._file)
            self._names = self._match_tensors()
        except BaseException:
            self._file.close()
            raise

    def names(self) -> Sequence[str]:
        return tuple(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file.tensors[self._names[name]].shape

    def load(self, name: str) -> torch.Tensor:
        return self._arrange(name, self._file.load(self._names[name]))

    def blocks(self, name: str) -> Blocks | None:
        tensor = self._file.tensors[self._names[name]]
        if BLOCK_SIZES[tensor.type].values == 1:
            return None
        rows = self._file.raw(tensor.name).reshape(math.prod(tensor.shape[:-1]), -1)
        return Blocks(tensor.type, self._arrange(name, torch.from_numpy(rows.copy())).numpy())

    def _arrange(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Rows in Hugging Face's order."""
        if self._config.family.permuted:
            if ".q_proj." in name:
                return _unpermute(tensor, self._config.heads)
            if ".k_proj." in name:
                return _unpermute(tensor, self._config.kv_heads)
        return tensor

    def config(self) -> DecoderConfig:
        return self._config

    def tokenizer(self) -> tokenizers.Tokenizer:
        return gguf_tokenizer(self._file)

    def chat_template(self) -> str | None:
        template = self._file.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    def close(self) -> None:
        self._file.close()

    def _match_tensors(self) -> dict[str, str]:
        """Hugging Face names to the file's, in the order of `checkpoint_tensors`."""
        found: dict[str, str] = {}
        for name in self._file.tensors:
            if name in FACTOR_TENSORS:
                continue
            known = hugging_face_name(name, self._config)
            if known is None:
                raise ModelUnavailableError(
                    f"{self._file.path}: the tensor {name!r} is unknown to {self._config.architecture} models.",
                    hint="Choose another file of the model, or its Hugging Face repository.",
                )
            found[known] = name
        places: dict[str, str] = {}
        for known, shape in checkpoint_tensors(self._config):
            if known not in found:
                raise MalformedFileError(f"{self._file.path} lacks the tensor {known}.", hint="Fetch the file again.")
            name = places[known] = found.pop(known)
            if (actual := self._file.tensors[name].shape) != shape:
                raise MalformedFileError(
                    f"{self._file.path}: {name!r} is {actual}, its metadata say {shape}.",
                    hint="Fetch the file again.",
                )
        if found:
            raise MalformedFileError(
                f"{self._file.path} holds tensors that its metadata do not: {', '.join(sorted(found)[:3])}.",
                hint="Fetch the file again.",
            )
        return places


def _unpermute(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo what llama.cpp's converter does to some families: there, rotated pairs are neighbours; in Hugging Face's
    layout the first half of a head is rotated with the second."""
    rows = tensor.shape[0]
    return tensor.view(heads, rows // heads // 2, 2, -1).transpose(1, 2).reshape(tensor.shape)
