"""One view of a model's weights, whatever file format holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import tokenizers
import torch

from openhearth.errors import ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.dequantise import Bytes
from openhearth.models.loading.ggml_types import GgmlType


class Blocks(NamedTuple):
    """A matrix of GGUF's blocks: uint8 [rows, bytes of a row]. Rows are in the order of `TensorSource.load`."""

    type: GgmlType
    rows: Bytes


class TensorSource(Protocol):
    """Weights under their Hugging Face names (`model.layers.0.self_attn.q_proj.weight`), in Hugging Face's layout.

    `names` lists exactly what `checkpoint_tensors` (tensors.py) demands, with those shapes: both were checked when it
    was opened. Where the config is that of a foreign model, they are the file's own.
    """

    def names(self) -> Sequence[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def load(self, name: str) -> torch.Tensor:
        """The tensor in float32, in memory of its own. KeyError for a name that `names` does not list."""
        ...

    def blocks(self, name: str) -> Blocks | None:
        """The matrix in the blocks that the file holds it in; None where the file holds plain numbers."""
        ...

    def config(self) -> DecoderConfig: ...

    def tokenizer(self) -> tokenizers.Tokenizer: ...

    def chat_template(self) -> str | None:
        """The Jinja source that renders a conversation; None when the model brings none."""
        ...

    def close(self) -> None: ...


def open_source(path: Path) -> TensorSource:
    """Open a `.gguf` file, a `.safetensors` file with its `config.json` beside it, or a folder of the latter kind.

    Raises ModelUnavailableError for what is missing or not supported, MalformedFileError for what is damaged.
    """
    # Imported on use: these modules name the protocol above.
    if path.is_dir() or path.suffix == ".safetensors":
        from openhearth.models.loading.foreign_source import ForeignSource
        from openhearth.models.loading.hf_values import NotOurs
        from openhearth.models.loading.safetensors_source import SafetensorsSource

        try:
            return SafetensorsSource(path)
        except NotOurs:
            return ForeignSource(path)
    if not path.exists():
        raise ModelUnavailableError(f"There is no {path}.", hint="Check the path.")
    if path.suffix == ".gguf":
        from openhearth.models.loading.gguf_source import GgufSource

        return GgufSource(path)
    raise ModelUnavailableError(
        f"{path} is not a model file that can be read.",
        hint="Name a .gguf file, a .safetensors file, or a folder with config.json and safetensors files.",
    )
