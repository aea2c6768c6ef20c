"""One sequence by itself, outside the engine: for measuring, calibrating and testing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.step import Part, Step
from openhearth.models.layers.paged import BLOCK


class Solo:
    """Reads up to `capacity` tokens, in as many calls as one likes, into a store of its own."""

    def __init__(self, decoder: BaseDecoder, capacity: int) -> None:
        self.length = 0
        self._decoder = decoder
        self._blocks = range(-(-capacity // BLOCK))
        self._kv = decoder.new_store(len(self._blocks))

    def __call__(self, ids: Sequence[int] | Tensor, *, every_row: bool = False) -> Tensor:
        """Read `ids` behind what was read; logits float32 [1, vocabulary] of the last, [ids, vocabulary] of every."""
        ids = ids.tolist() if isinstance(ids, Tensor) else ids
        part = Part(ids, self.length, self._blocks, len(ids) if every_row else 1)
        self.length += len(ids)
        return self._decoder(Step.of([part], self._decoder.device), self._kv)


def whole_text(rows: int) -> tuple[Step, int]:
    """The step that reads a text of `rows` tokens at once, whichever they are, and the blocks that it takes."""
    blocks = range(-(-rows // BLOCK))
    return Step.of([Part([0] * rows, 0, blocks)], torch.device("cpu")), len(blocks)
