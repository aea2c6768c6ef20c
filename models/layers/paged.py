"""Keys and values of all sequences, in blocks of `BLOCK` tokens that any sequence may hold in any order.

A layer's keys are a tensor [blocks, kv_heads, BLOCK, head_dim]; slot `block * BLOCK + offset` is where one token's are.
In memory the heads come first, so that blocks in a row are one plain run of tokens for each head, and a sequence that
holds such blocks is read without any copy. Whoever reads by pointer takes the strides from the tensor: only the last
two dimensions of a block are sure to lie in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 32
"""Tokens of one block."""


class Span(NamedTuple):
    """One sequence's part of a step: its `rows` rows from `first` on, and its `length` once they are in.

    `start` is its first slot where all its blocks lie in a row; None where they do not.
    """

    first: int
    rows: int
    length: int
    start: int | None


@dataclass(slots=True, frozen=True)
class LayerKV:
    """One layer's keys and values, as one step needs them.

    `new` are the places of the rows' own, [rows, 2, kv_heads, head_dim], where these lie in a row; else None, and
    `pool`, [slots, 2, kv_heads, head_dim], takes them by slot. `seen` gives each span what its rows see once they are
    in: keys and values [1, kv_heads, length, head_dim], or None where they must be gathered from `pool`.
    """

    pool: Tensor
    new: Tensor | None
    seen: Sequence[tuple[Tensor, Tensor] | None]

    def write(self, keys_values: Tensor, slots: Tensor) -> None:
        """Put the rows [rows, 2 * kv_heads * head_dim] where `slots` [rows] says."""
        if self.new is not None:
            self.new.copy_(keys_values.view(self.new.shape))
        else:
            rows = keys_values.view(-1, *self.pool.shape[1:])
            self.pool.index_copy_(0, slots, rows if rows.dtype is self.pool.dtype else rows.to(self.pool.dtype))

    def read(self, index: int, slots_of: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
        """What span `index` sees; `slots_of(index)`, int64 [length], is asked where its blocks do not lie in a row."""
        seen = self.seen[index]
        if seen is not None:
            return seen
        keys, values = self.pool.index_select(0, slots_of(index)).permute(1, 2, 0, 3).unsqueeze(1).unbind(0)
        return keys, values


class KVStore:
    """Room for `blocks` blocks on `device`. Memory that was never written costs nothing on a CPU.

    `keys` and `values` are lists of one tensor a layer; see the module.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        blocks: int,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.blocks = blocks
        self._data = torch.empty(layers, 2, kv_heads, blocks * BLOCK, head_dim, device=device, dtype=dtype)
        by_block = self._data.view(layers, 2, kv_heads, blocks, BLOCK, head_dim).transpose(2, 3)
        self.keys: list[Tensor] = list(by_block[:, 0].unbind(0))
        self.values: list[Tensor] = list(by_block[:, 1].unbind(0))
        self._by_slot = self._data.permute(0, 3, 1, 2, 4)
        self._pools = self._by_slot.unbind(0)

    @property
    def dtype(self) -> torch.dtype:
        return self._data.dtype

    @property
    def block_bytes(self) -> int:
        """Of one block, in all layers."""
        return self._data.nbytes // self.blocks

    def views(self, spans: Sequence[Span]) -> list[LayerKV]:
        """Each layer's part, for one step."""
        layers = len(self._pools)
        new: Sequence[Tensor | None] = [None] * layers
        if len(spans) == 1 and spans[0].start is not None:
            end = spans[0].start + spans[0].length
            new = self._by_slot[:, end - spans[0].rows : end].unbind(0)
        seen = [[None] * layers if span.start is None else self._run(span.start, span.length) for span in spans]
        return [LayerKV(pool, place, parts) for pool, place, *parts in zip(self._pools, new, *seen, strict=True)]

    def copy_block(self, source: int, target: int) -> None:
        """Make block `target` hold what `source` holds; all of it, since a decoder may order a block as it likes."""
        first, second = source * BLOCK, target * BLOCK
        self._data[:, :, :, second : second + BLOCK] = self._data[:, :, :, first : first + BLOCK]

    def _run(self, start: int, length: int) -> Sequence[tuple[Tensor, Tensor]]:
        seen = self._data[:, :, None, :, start : start + length]
        return list(zip(seen[:, 0].unbind(0), seen[:, 1].unbind(0), strict=True))
