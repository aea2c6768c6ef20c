"""Safetensors files with their `config.json`, one file or sharded, as a TensorSource."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig, tensor_shapes
from openhearth.models.loading.hf_config import hugging_face_config, read_json
from openhearth.models.loading.safetensors import SafetensorsFile

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
_FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})


class SafetensorsSource:
    """See TensorSource. `path` is one file, or a folder with an index, one `model.safetensors`, or any single file."""

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._config = hugging_face_config(self._folder)
        self._shards: dict[str, SafetensorsFile] = {}
        try:
            self._places = self._match_tensors(self._open(path))
        except BaseException:
            self.close()
            raise

    def names(self) -> Sequence[str]:
        return tuple(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._places[name].tensors[name].shape

    def load(self, name: str) -> torch.Tensor:
        return self._places[name].tensor(name).to(torch.float32, copy=True)

    def config(self) -> DecoderConfig:
        return self._config

    def tokenizer(self) -> tokenizers.Tokenizer:
        file = self._folder / "tokenizer.json"
        if not file.is_file():
            raise ModelUnavailableError(
                f"{self._folder} has no tokenizer.json.", hint="Fetch it from where the weights came from."
            )
        try:
            return tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the Rust extension raises bare Exception
            raise MalformedFileError(f"{file}: {error}.", hint="Fetch the file again.") from error

    def chat_template(self) -> str | None:
        file = self._folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        settings = read_json(self._folder / "tokenizer_config.json", optional=True)
        return _default_template(settings.get("chat_template"))

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()

    def _open(self, path: Path) -> dict[str, SafetensorsFile]:
        """Every tensor's name and the file that holds it."""
        if path.is_file():
            return self._whole(path)
        if (path / INDEX_NAME).is_file():
            return self._sharded(path / INDEX_NAME)
        files = [path / SINGLE_NAME] if (path / SINGLE_NAME).is_file() else sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            problem = f"{len(files)} safetensors files and no {INDEX_NAME}" if files else "no safetensors file"
            raise ModelUnavailableError(f"{path} holds {problem}.", hint="Name the file itself, or fetch the index.")
        return self._whole(files[0])

    def _whole(self, file: Path) -> dict[str, SafetensorsFile]:
        shard = self._shards[file.name] = SafetensorsFile(file)
        return dict.fromkeys(shard.tensors, shard)

    def _sharded(self, index: Path) -> dict[str, SafetensorsFile]:
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
            raise MalformedFileError(f"{index}: weight_map does not map names to files.", hint="Fetch it again.")
        for file in dict.fromkeys(places.values()):
            # A shard lies beside its index: a path would let the index read anything on this machine.
            if Path(file).name != file or file in ("", ".", "..") or "\\" in file or "\0" in file:
                raise MalformedFileError(f"{index}: {file!r} is not a file name.", hint="Do not trust this model.")
            self._shards[file] = SafetensorsFile(index.parent / file)
        for name, file in places.items():
            if name not in self._shards[file].tensors:
                raise MalformedFileError(f"{index}: {file} does not hold {name!r}.", hint="Fetch both again.")
        return {name: self._shards[file] for name, file in places.items()}

    def _match_tensors(self, found: dict[str, SafetensorsFile]) -> dict[str, SafetensorsFile]:
        expected = tensor_shapes(self._config)
        for name, shape in expected.items():
            if name not in found:
                raise MalformedFileError(f"{self._folder} lacks the tensor {name}.", hint="Fetch the model again.")
            entry = found[name].tensors[name]
            if entry.shape != shape:
                raise MalformedFileError(
                    f"{found[name].path}: {name!r} is {entry.shape}, config.json says {shape}.",
                    hint="Fetch the model again.",
                )
            if entry.dtype not in _FLOATS:
                raise ModelUnavailableError(
                    f"{found[name].path}: {name!r} is {entry.dtype}; quantised weights are read from GGUF only.",
                    hint="Fetch the model in bfloat16, float16 or float32, or as GGUF.",
                )
        if unknown := [name for name in found if name not in expected and not _superfluous(name)]:
            raise ModelUnavailableError(
                f"{self._folder}: the tensor {unknown[0]!r} is unknown to {self._config.architecture} models."
            )
        return {name: found[name] for name in expected}


def _superfluous(name: str) -> bool:
    """Buffers that old checkpoints carry along, and the copy of tied embeddings."""
    return name == "lm_head.weight" or name.endswith(".rotary_emb.inv_freq")


def _default_template(value: Any) -> str | None:
    """`chat_template` is one template, or a list of named ones."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
