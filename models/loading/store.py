"""A converted model on disk: a folder that holds all that the engine needs, and nothing to compute at load.

    manifest.json         format version, precision of the whole and of each linear, where it came from
    config.json           DecoderConfig
    tokenizer.json        a `tokenizers` file
    chat_template.jinja   absent when the model brings none
    weights.safetensors   tensors in the engine's layout (architectures/layout.py), read by mmap

`convert.py` writes it; a folder under its final name is always complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import tokenizers
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.architectures.layout import linear_names, tensor_shapes
from openhearth.models.kernels.weights import parts_of, shape_of, weight_bytes
from openhearth.models.layers.linear import LinearKind
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.format import FORMAT_VERSION
from openhearth.models.loading.resident import read_resident
from openhearth.models.loading.safetensors import SafetensorsFile, TensorEntry

MANIFEST, CONFIG, TOKENIZER, TEMPLATE, WEIGHTS = (
    "manifest.json",
    "config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "weights.safetensors",
)
Precision = Literal["float32", "bfloat16", "int8", "native"]
"""`native` keeps a GGUF file's own numbers, and rounds others to 8 bits in groups of 32 (kernels/formats.py)."""


_AGAIN = "Remove it with `hearth models rm` and pull it again."
_DTYPES: dict[LinearKind, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int8-wide": torch.int8,
}


class Manifest(BaseModel):
    """`manifest.json`. `linears` gives every linear's precision by name, `extra` is the puller's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    precision: Precision
    linears: dict[str, LinearKind]
    source: str
    source_bytes: int
    source_sha256: str | None
    weights_bytes: int
    extra: dict[str, Any] = {}


class ModelStore:
    """An open store. Its tensors lie on the file's own memory."""

    def __init__(self, folder: Path, manifest: Manifest, config: DecoderConfig, tensors: dict[str, torch.Tensor]):
        self.folder, self.manifest, self.config, self.tensors = folder, manifest, config, tensors

    @classmethod
    def open(cls, folder: Path, *, resident: bool = False) -> Self:
        """Check the folder and map its weights; `resident` reads those of native linears into memory of this process
        (loading/resident.py), but for an embedding that only looks up.

        Raises ModelUnavailableError where there is no store, or one of a newer format; MalformedFileError where it is
        damaged.
        """
        manifest = read_manifest(folder)
        config = DecoderConfig.from_json(_read(folder / CONFIG))
        weights = folder / WEIGHTS
        size = weights.stat().st_size if weights.is_file() else 0
        if size != manifest.weights_bytes:
            raise MalformedFileError(f"{weights} has {size} bytes of {manifest.weights_bytes}.", hint=_AGAIN)
        file = SafetensorsFile(weights)
        _check(weights, file.tensors, manifest, config)
        tensors = {name: file.tensor(name) for name in file.tensors}
        if resident:
            mapped = {"embedding.weight"} if not config.tie_embeddings else set()
            read = {name: e for name, e in file.tensors.items() if e.dtype is torch.uint8 and name not in mapped}
            tensors |= read_resident(weights, read)
        file.close()
        return cls(folder, manifest, config, tensors)

    def tokenizer(self) -> tokenizers.Tokenizer:
        try:
            return tokenizers.Tokenizer.from_str(_read(self.folder / TOKENIZER))
        except MalformedFileError:
            raise
        except Exception as error:  # tokenizers raises bare Exceptions
            raise MalformedFileError(f"{self.folder / TOKENIZER} is damaged: {error}.", hint=_AGAIN) from error

    def chat_template(self) -> str | None:
        file = self.folder / TEMPLATE
        return _read(file) if file.exists() else None


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, for listing models. Raises as `ModelStore.open` does."""
    file = folder / MANIFEST
    if not file.is_file():
        raise ModelUnavailableError(f"{folder} holds no converted model.", hint="Pull it with `hearth models pull`.")
    try:
        manifest = Manifest.model_validate_json(_read(file))
    except ValidationError as error:
        raise MalformedFileError(f"{file} is damaged: {error.errors()[0]['msg']}.", hint=_AGAIN) from error
    if manifest.format_version != FORMAT_VERSION:
        raise ModelUnavailableError(
            f"{folder} is of store format {manifest.format_version}; this version reads {FORMAT_VERSION}.", hint=_AGAIN
        )
    return manifest


def _check(path: Path, entries: dict[str, TensorEntry], manifest: Manifest, config: DecoderConfig) -> None:
    """Every tensor of the layout is there, in the shape and dtype that the config and the manifest say. What a foreign
    model must have is known to transformers alone, and checked when it is built."""
    if config.foreign is not None:
        return
    linears = linear_names(config)
    if manifest.linears.keys() != set(linears):
        raise MalformedFileError(f"The manifest beside {path} does not list the model's linears.", hint=_AGAIN)
    dtypes = {name: _dtype(path, kind) for name, kind in manifest.linears.items()}
    if config.tie_embeddings and dtypes["head"] != dtypes["embedding"]:
        raise MalformedFileError(f"The manifest beside {path} has a head unlike the embedding it is.", hint=_AGAIN)
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for name, shape in tensor_shapes(config).items():
        owner, _, part = name.rpartition(".")
        weight = part == "weight" and owner in linears
        dtype = dtypes[owner] if weight else torch.float32
        if dtype is torch.uint8:
            kind = manifest.linears[owner]
            if shape_of(kind) != shape:
                raise MalformedFileError(f"{path}: {name} is {kind}, its shape is {shape}.", hint=_AGAIN)
            shape = (weight_bytes(kind),)
        expected[name] = (shape, dtype)
        if dtype is torch.int8:
            expected[f"{owner}.scale"] = (shape[:1], torch.float32)
    found = {name: (entry.shape, entry.dtype) for name, entry in entries.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise MalformedFileError(f"{path}: {wrong[0]} is missing or not what the config says.", hint=_AGAIN)


def _dtype(path: Path, kind: LinearKind) -> torch.dtype:
    try:
        if kind in _DTYPES:
            return _DTYPES[kind]
        parts_of(kind)
        return torch.uint8
    except ValueError as error:
        raise MalformedFileError(f"The manifest beside {path} is damaged: {error}.", hint=_AGAIN) from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedFileError(f"Cannot read {file}: {error}.", hint=_AGAIN) from error
