"""A checkpoint's matrices in the native kernels' layout, in whatever order and company the engine wants their rows.

`layout.layer_tensors` moves rows about: it interleaves heads and joins matrices. To follow rows of packed blocks
through that, it is given row numbers in their place: a matrix becomes one column of numbers, unique over all matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openhearth.models.kernels.formats import PANEL, Bytes, Floats, Kind
from openhearth.models.kernels.weights import native_kind
from openhearth.models.loading.blocks import FORMATS, Parsed, pack, parse_blocks, round_to_q8
from openhearth.models.loading.source import Blocks, TensorSource

Rows = np.ndarray[Any, np.dtype[np.int64]]

_FIRST_ROW = 1 << 40
"""So large that no factor on the numbers goes unnoticed."""
_CHUNK_VALUES = 1 << 21


class Repacker:
    """Gives out numbers for rows, and makes tensors of rows that numbers stand for."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self._names: list[str] = []
        self._starts = [_FIRST_ROW]
        self._blocks: dict[str, Blocks] = {}
        self._floats: dict[str, Floats] = {}

    def load(self, name: str) -> Tensor:
        """A vector as it is; for a matrix the numbers of its rows, float64 [..., rows, 1]."""
        shape = self._source.shape(name)
        if len(shape) == 1:
            return self._source.load(name)
        rows = int(np.prod(shape[:-1]))
        start = self._starts[-1]
        self._names.append(name)
        self._starts.append(start + rows)
        return torch.arange(start, start + rows, dtype=torch.float64).view(*shape[:-1], 1)

    def native(self, numbers: Tensor, shares: int = 1) -> tuple[str, Tensor]:
        """The kind of the linear whose rows `numbers` stand for, and its tensor (kernels/weights.py).

        It can be cut into `shares` linears of as many rows each; where that would cut panels, it becomes bfloat16.
        """
        rows = self._rows(numbers)
        if shares > 1 and len(rows) // shares % PANEL:
            return "bfloat16", self.floats(numbers).to(torch.bfloat16)
        runs = self._runs(rows)
        if any(len(run) % PANEL for _, run in runs[:-1]) or (shares > 1 and len(runs) > 1):
            runs = [("q8", rows)]
        inputs = self._source.shape(self._names[self._owner(rows[0])])[-1]
        pieces = [piece for name, run in runs for piece in self._panels(name, run, inputs)]
        kind = native_kind([(name, len(run)) for name, run in runs], inputs)
        return kind, torch.from_numpy(np.concatenate(pieces))

    def floats(self, numbers: Tensor) -> Tensor:
        """The rows that `numbers` stand for, float32 [rows, inputs]."""
        rows = self._rows(numbers)
        return torch.from_numpy(np.concatenate([self._float_rows(*piece) for piece in self._pieces(rows)]))

    def forget(self) -> None:
        """Let go of all matrices; numbers given out so far stand for nothing now."""
        self._names.clear()
        del self._starts[1:]
        self._blocks.clear()
        self._floats.clear()

    def _rows(self, numbers: Tensor) -> Rows:
        flat = numbers.reshape(-1).numpy()
        rows = flat.astype(np.int64)
        if not np.array_equal(rows, flat) or rows.min() < _FIRST_ROW or rows.max() >= self._starts[-1]:
            raise ValueError("the layout changed numbers that stand for rows; it may only move them")
        return rows

    def _owner(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _pieces(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Stretches of rows of one matrix, as its name and the rows' places in it."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(owners)) + 1
        for stretch, of in zip(np.split(rows, cuts), np.split(owners, cuts), strict=True):
            yield self._names[of[0]], stretch - self._starts[of[0]]

    def _runs(self, rows: Rows) -> list[tuple[Kind, Rows]]:
        """Stretches of rows of one format."""
        runs: list[tuple[Kind, Rows]] = []
        at = 0
        for name, places in self._pieces(rows):
            blocks = self._blocks_of(name)
            wanted = "q8" if blocks is None else FORMATS.get(blocks.type, "q8")
            run = rows[at : at + len(places)]
            at += len(places)
            if runs and runs[-1][0] == wanted:
                runs[-1] = (wanted, np.concatenate([runs[-1][1], run]))
            else:
                runs.append((wanted, run))
        return runs

    def _panels(self, name: Kind, rows: Rows, inputs: int) -> Iterator[Bytes]:
        step = max(_CHUNK_VALUES // inputs // PANEL, 1) * PANEL
        for first in range(0, len(rows), step):
            pieces = self._pieces(rows[first : first + step])
            yield pack([self._parsed(name, *piece) for piece in pieces], name).reshape(-1)

    def _parsed(self, wanted: Kind, name: str, places: Rows) -> Parsed:
        blocks = self._blocks_of(name)
        if blocks is not None and FORMATS.get(blocks.type) == wanted:
            return parse_blocks(blocks.rows[places], blocks.type)
        return round_to_q8(self._float_rows(name, places))

    def _float_rows(self, name: str, places: Rows) -> Floats:
        if name not in self._floats:
            tensor = self._source.load(name)
            self._floats[name] = tensor.view(-1, tensor.shape[-1]).numpy()
        return self._floats[name][places]

    def _blocks_of(self, name: str) -> Blocks | None:
        if name not in self._blocks:
            found = self._source.blocks(name)
            if found is None:
                return None
            self._blocks[name] = found
        return self._blocks[name]
