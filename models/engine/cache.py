"""Gives sequences the blocks that they work in, and finds them what is known of their beginning."""

from __future__ import annotations

from collections.abc import Sequence

from openhearth.models.engine.blocks import BlockPool
from openhearth.models.engine.prefix_tree import PrefixTree
from openhearth.models.layers.paged import BLOCK, KVStore


def blocks_for(tokens: int) -> int:
    """How many blocks hold that many tokens."""
    return -(-tokens // BLOCK)


class PrefixCache:
    """The blocks of one store. Belongs to the engine's thread."""

    def __init__(self, kv: KVStore) -> None:
        self.kv = kv
        self.pool = BlockPool(kv.blocks)
        self.tree = PrefixTree(self.pool)

    @property
    def used_bytes(self) -> int:
        """Of the blocks that hold something, be it only for later."""
        return (self.pool.size - self.pool.free) * self.kv.block_bytes

    def begin(self, tokens: Sequence[int], room: int, *, spare: int = 0) -> tuple[list[int], int] | None:
        """Blocks for all `tokens`, and how many of these are in them already; None while there are not enough blocks.

        That is always short of the last token, which must run, or there would be nothing to sample from. `room` is how
        many tokens the sequence may reach: as many blocks in a row are looked for. `spare` blocks must be left over.
        """
        path, tail, shared = self.tree.find(tokens, len(tokens) - 1)
        blocks = [node.block for node in path]
        known = len(blocks) * BLOCK
        if tail is not None:
            blocks.append(tail.block)
        for block in blocks:
            self.pool.hold(block)
        needed = blocks_for(len(tokens)) - len(path)
        if tail is not None:
            pool = self.pool
            if shared == len(tail.tokens) < BLOCK and pool.holders(tail.block) == 2:
                # Nobody but the tree has it, and what comes next goes behind what the tree knows of it.
                known, needed = known + shared, needed - 1
            else:
                blocks.pop()
                if pool.free + pool.idle >= needed + spare and self._take(blocks, room):
                    self.kv.copy_block(tail.block, blocks[-1])
                    known, needed = known + shared, needed - 1
                pool.drop(tail.block)
        if self.pool.free + self.pool.idle >= needed + spare and self.extend(blocks, len(tokens), room):
            return blocks, known
        for block in blocks:
            self.pool.drop(block)
        return None

    def extend(self, blocks: list[int], tokens: int, room: int) -> bool:
        """Add blocks until they hold `tokens`; False, with what there was added, where there are no more."""
        while len(blocks) * BLOCK < tokens:
            if not self._take(blocks, room):
                return False
        return True

    def remember(self, tokens: Sequence[int], blocks: Sequence[int]) -> None:
        """Let others read the whole blocks of a sequence that goes on; `tokens` are those that were read."""
        self.tree.insert(tokens, blocks, whole_only=True)

    def release(self, tokens: Sequence[int], blocks: list[int]) -> None:
        """Take the blocks back from a sequence, and remember `tokens`, those that were read."""
        self.tree.insert(tokens, blocks, whole_only=False)
        self.discard(blocks)

    def discard(self, blocks: list[int]) -> None:
        """Take the blocks back without remembering anything new."""
        for block in blocks:
            self.pool.drop(block)
        blocks.clear()

    def _take(self, blocks: list[int], room: int) -> bool:
        if not self.pool.free and not self.tree.evict():
            return False
        after = blocks[-1] if blocks else None
        blocks.append(self.pool.take(after, blocks_for(room) - len(blocks)))
        return True
