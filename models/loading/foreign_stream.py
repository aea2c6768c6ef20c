"""The tensors of a store for transformers (architectures/foreign.py): the checkpoint's own, in one floating type."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch
from torch import Tensor

from openhearth.errors import CancelledError
from openhearth.models.base import ProgressCallback
from openhearth.models.layers.linear import LinearKind
from openhearth.models.loading.source import TensorSource
from openhearth.models.loading.store import Precision


class ForeignStream:
    """One tensor after the other, float32 where that is asked for, else bfloat16: there is no int8 for models whose
    layers are not ours."""

    def __init__(
        self, source: TensorSource, precision: str, progress: ProgressCallback | None, cancel: threading.Event
    ) -> None:
        self.kinds: dict[str, LinearKind] = {}
        self.precision: Precision = "float32" if precision == "float32" else "bfloat16"
        self._source, self._progress, self._cancel = source, progress, cancel

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        names = self._source.names()
        dtype = torch.float32 if self.precision == "float32" else torch.bfloat16
        for number, name in enumerate(names):
            if self._cancel.is_set():
                raise CancelledError("The conversion was cancelled.", hint="Nothing was left behind; start it again.")
            tensor = self._source.load(name)
            yield name, tensor.to(dtype)
            if self._progress is not None:
                self._progress("Converting the model", number + 1, len(names))
