"""One forward pass: which rows of which sequences, and where their keys and values go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openhearth.models.layers.paged import BLOCK, Span


@dataclass(slots=True, frozen=True)
class Part:
    """One sequence's part of a step: `ids` to be read from position `start` on, and all its blocks, in order.

    `wanted` is how many of its last rows' logits are wanted.
    """

    ids: Sequence[int]
    start: int
    blocks: Sequence[int]
    wanted: int = 1


@dataclass(slots=True, frozen=True)
class Step:
    """Rows of several sequences. All tensors are contiguous and on the decoder's device.

    ids            int64 [rows]
    positions      int32 [rows]
    slots          int64 [rows], where each row's key and value go: block * BLOCK + offset
    row_sequence   int32 [rows], the sequence of the step that a row belongs to; rows of one are adjacent, ascending
    tables         int32 [sequences, widest], the block numbers of each sequence in order, filled up with zeros
    spans          for each sequence, its rows and its length
    wanted         int64 [n], the rows whose logits are wanted; None: all
    """

    ids: Tensor
    positions: Tensor
    slots: Tensor
    row_sequence: Tensor
    tables: Tensor
    spans: tuple[Span, ...]
    wanted: Tensor | None

    @classmethod
    def of(cls, parts: Sequence[Part], device: torch.device) -> Step:
        """The step that reads all `parts`; each must have blocks enough, and at least one row."""
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        row_sequence: list[int] = []
        spans: list[Span] = []
        wanted: list[int] = []
        widest = max(len(part.blocks) for part in parts)
        tables: list[list[int]] = []
        for index, part in enumerate(parts):
            first, rows = len(ids), len(part.ids)
            end = part.start + rows
            ids += part.ids
            positions += range(part.start, end)
            slots += [part.blocks[at // BLOCK] * BLOCK + at % BLOCK for at in range(part.start, end)]
            row_sequence += [index] * rows
            tables.append([*part.blocks, *[0] * (widest - len(part.blocks))])
            spans.append(Span(first, rows, end, _first_slot(part.blocks)))
            wanted += range(first + rows - part.wanted, first + rows)
        return cls(
            torch.tensor(ids, dtype=torch.int64, device=device),
            torch.tensor(positions, dtype=torch.int32, device=device),
            torch.tensor(slots, dtype=torch.int64, device=device),
            torch.tensor(row_sequence, dtype=torch.int32, device=device),
            torch.tensor(tables, dtype=torch.int32, device=device),
            tuple(spans),
            None if len(wanted) == len(ids) else torch.tensor(wanted, dtype=torch.int64, device=device),
        )

    def slots_of(self, index: int) -> Tensor:
        """The slots of all tokens of sequence `index`, int64 [length]."""
        length = self.spans[index].length
        blocks = self.tables[index, : -(-length // BLOCK)].long()
        offsets = torch.arange(BLOCK, device=blocks.device)
        return (blocks[:, None] * BLOCK + offsets).view(-1)[:length]


def _first_slot(blocks: Iterable[int]) -> int | None:
    """The first slot of blocks that lie in a row."""
    numbers = list(blocks)
    in_a_row = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return numbers[0] * BLOCK if in_a_row else None
