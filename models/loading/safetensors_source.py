"""Safetensors files with their `config.json`, one file or sharded, as a TensorSource."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.hf_config import hugging_face_config
from openhearth.models.loading.hf_values import read_json
from openhearth.models.loading.safetensors import TensorEntry
from openhearth.models.loading.shards import Shards
from openhearth.models.loading.source import Blocks
from openhearth.models.loading.tensors import checkpoint_tensors

_FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})
_EXPERTS = re.compile(r"(.*\.mlp\.experts)\.([a-z_]+\.weight)")
_RENAMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "granitehybrid": (
        (".shared_mlp.input_linear.", ".mlp.gate_up_proj."),
        (".shared_mlp.output_linear.", ".mlp.down_proj."),
    ),
    # A model that also sees keeps its text part under a name of its own, at two levels by the version of transformers.
    "gemma3": (("language_model.model.", "model."), ("model.language_model.", "model."), ("language_model.", "")),
}
_NOT_TEXT = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")


class SafetensorsSource:
    """See TensorSource. `path` is one file, or a folder with an index, one `model.safetensors`, or any single file."""

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._config = hugging_face_config(self._folder)
        self._shards = Shards(path)
        try:
            self._places = self._match_tensors()
        except BaseException:
            self._shards.close()
            raise

    def names(self) -> Sequence[str]:
        return tuple(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        names = self._places[name]
        shape = self._shards.entry(names[0]).shape
        return (len(names), *shape) if _EXPERTS.fullmatch(name) else shape

    def load(self, name: str) -> torch.Tensor:
        names = self._places[name]
        if _EXPERTS.fullmatch(name):
            return torch.stack([self._shards.tensor(part).float() for part in names])
        tensor = self._shards.tensor(names[0]).to(torch.float32, copy=True)
        if self._config.family.offset_norms and name.endswith("norm.weight"):
            return tensor.add_(1)
        return tensor

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

    def _match_tensors(self) -> dict[str, tuple[str, ...]]:
        """Each tensor of `checkpoint_tensors` and the file's names for it: one, or one for each expert."""
        found = {self._name(name): name for name in self._shards.names() if not name.startswith(_NOT_TEXT)}
        places: dict[str, tuple[str, ...]] = {}
        for name, shape in checkpoint_tensors(self._config):
            parts = []
            for part, expected in _parts(name, shape):
                if part not in found:
                    raise MalformedFileError(f"{self._folder} lacks the tensor {part}.", hint="Fetch the model again.")
                parts.append(found.pop(part))
                self._check(parts[-1], self._shards.entry(parts[-1]), expected)
            places[name] = tuple(parts)
        if unknown := [name for name in found if not _superfluous(name)]:
            raise ModelUnavailableError(
                f"{self._folder}: the tensor {found[unknown[0]]!r} is unknown to {self._config.architecture} models.",
                hint="The files do not fit their config.json; fetch the model again.",
            )
        return places

    def _name(self, name: str) -> str:
        for theirs, ours in _RENAMED.get(self._config.architecture, ()):
            if theirs in name:
                return name.replace(theirs, ours, 1)
        return name

    def _check(self, name: str, entry: TensorEntry, shape: tuple[int, ...]) -> None:
        if entry.shape != shape:
            raise MalformedFileError(
                f"{self._shards.path(name)}: {name!r} is {entry.shape}, config.json says {shape}.",
                hint="Fetch the model again.",
            )
        if entry.dtype not in _FLOATS:
            raise ModelUnavailableError(
                f"{self._shards.path(name)}: {name!r} is {entry.dtype}; quantised weights are read from GGUF only.",
                hint="Fetch the model in bfloat16, float16 or float32, or as GGUF.",
            )


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The folder's `tokenizer.json`. Raises ModelUnavailableError where there is none, MalformedFileError."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelUnavailableError(
            f"{folder} has no tokenizer.json.", hint="Fetch it from where the weights came from."
        )
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust extension raises bare Exception
        raise MalformedFileError(f"{file}: {error}.", hint="Fetch the file again.") from error


def read_chat_template(folder: Path) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise MalformedFileError(f"{file} is not UTF-8.", hint="Fetch the file again.") from error
    settings = read_json(folder / "tokenizer_config.json", optional=True)
    return _default_template(settings.get("chat_template"))


def _parts(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes under which a file holds the tensor: a stack of experts is in parts."""
    match = _EXPERTS.fullmatch(name)
    if match is None:
        yield name, shape
        return
    for expert in range(shape[0]):
        yield f"{match[1]}.{expert}.{match[2]}", shape[1:]


def _superfluous(name: str) -> bool:
    """Buffers that old checkpoints carry along, and the copy of tied embeddings."""
    return name == "lm_head.weight" or name.endswith(".rotary_emb.inv_freq")


def _default_template(value: Any) -> str | None:
    """`chat_template` is one template, or a list of named ones."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
