"""Blocks and the prefix tree, by a state machine: whatever happens, every block's content is what its reader thinks."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openhearth.models.engine.blocks import BlockPool
from openhearth.models.engine.cache import PrefixCache, blocks_for
from openhearth.models.layers.paged import BLOCK, KVStore

BLOCKS = 12


def store(blocks: int = BLOCKS) -> KVStore:
    return KVStore(1, 1, 2, blocks, device=torch.device("cpu"), dtype=torch.float64)


def mark(tokens: list[int]) -> float:
    """A number for a text; it stands for the keys and values of its last token, which depend on all of it."""
    return float(hash(tuple(tokens)) % (1 << 40))


class Reader:
    """A sequence, as the scheduler would have it."""

    def __init__(self, tokens: list[int], blocks: list[int], read: int) -> None:
        self.tokens, self.blocks, self.read = tokens, blocks, read


class Conversations(RuleBasedStateMachine):
    """Sequences begin, grow, guess, end and are thrown away over one small store."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(store())
        self.readers: list[Reader] = []
        self.texts: list[list[int]] = [[1]]

    def write(self, reader: Reader, end: int) -> None:
        for at in range(reader.read, end):
            self.put(reader, at, mark(reader.tokens[: at + 1]))
        whole = reader.read // BLOCK
        reader.read = end
        if end // BLOCK > whole:
            self.cache.remember(reader.tokens[:end], reader.blocks)

    def put(self, reader: Reader, at: int, value: float) -> None:
        block = reader.blocks[at // BLOCK]
        self.cache.kv.keys[0][block, :, at % BLOCK] = value
        self.cache.kv.values[0][block, :, at % BLOCK] = value

    @rule(
        data=st.data(),
        cut=st.integers(0, 5 * BLOCK),
        more=st.lists(st.integers(1, 2), min_size=1, max_size=2 * BLOCK),
        spare=st.integers(0, 2),
    )
    def begin(self, data: st.DataObject, cut: int, more: list[int], spare: int) -> None:
        tokens = [*data.draw(st.sampled_from(self.texts))[:cut], *more][: (BLOCKS - 1) * BLOCK]
        pool = self.cache.pool
        begun = self.cache.begin(tokens, len(tokens) + 40, spare=spare)
        if begun is None:
            # Blocks in the tree are not known to be of use, or the prompt would have found them.
            assert pool.free < blocks_for(len(tokens)) + spare
            assert self.readers
            return
        blocks, known = begun
        assert known < len(tokens)
        assert len(blocks) == blocks_for(len(tokens))
        assert pool.free + pool.idle >= spare
        reader = Reader(tokens, blocks, known)
        self.readers.append(reader)
        self.check(reader)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), share=st.floats(0.1, 1))
    def read(self, data: st.DataObject, share: float) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        pending = len(reader.tokens) - reader.read
        self.write(reader, reader.read + -(-int(pending * share * 10) // 10))

    @precondition(lambda self: self.readers)
    @rule(
        data=st.data(),
        more=st.lists(st.integers(1, 2), min_size=1, max_size=BLOCK + 3),
        guessed=st.integers(0, 9),
    )
    def grow(self, data: st.DataObject, more: list[int], guessed: int) -> None:
        """Everything is read, tokens come to it, and some are guessed wrongly."""
        reader = data.draw(st.sampled_from(self.readers))
        self.write(reader, len(reader.tokens))
        reader.tokens += more
        if not self.cache.extend(reader.blocks, len(reader.tokens) + guessed, len(reader.tokens) + 40):
            assert self.cache.pool.free == 0
            self.readers.remove(reader)
            self.cache.release(reader.tokens[: reader.read], reader.blocks)
            return
        self.write(reader, len(reader.tokens))
        for at in range(len(reader.tokens), len(reader.tokens) + guessed):
            self.put(reader, at, -1.0)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), remembered=st.booleans())
    def end(self, data: st.DataObject, remembered: bool) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        self.texts = [*self.texts[-8:], list(reader.tokens)]
        if remembered:
            self.cache.release(reader.tokens[: reader.read], reader.blocks)
        else:
            self.cache.discard(reader.blocks)

    @rule()
    def evict(self) -> None:
        free, idle = self.cache.pool.free, self.cache.pool.idle
        evicted = self.cache.tree.evict()
        assert self.cache.pool.free == free + evicted
        assert evicted or idle == 0 or self.readers

    @invariant()
    def holders_are_counted(self) -> None:
        pool = self.cache.pool
        nodes = [node.block for node in self.cache.tree]
        assert len(nodes) == len(set(nodes))
        holders = Counter(nodes)
        for reader in self.readers:
            assert len(reader.blocks) == len(set(reader.blocks))
            holders.update(reader.blocks)
        assert [pool.holders(block) for block in range(BLOCKS)] == [holders[block] for block in range(BLOCKS)]
        assert pool.free == BLOCKS - len(holders)
        assert pool.idle == sum(holders[block] == 1 for block in nodes)
        assert [block for block in range(BLOCKS) if pool.kept(block)] == sorted(nodes)

    @invariant()
    def contents_are_right(self) -> None:
        for reader in self.readers:
            self.check(reader)
        for node in self.cache.tree:
            path = [node]
            while (parent := path[0].parent) is not None and parent.parent is not None:
                path.insert(0, parent)
            assert all(len(inner.tokens) == BLOCK for inner in path[:-1])
            text = [token for part in path for token in part.tokens]
            for offset in range(len(node.tokens)):
                end = (len(path) - 1) * BLOCK + offset + 1
                assert float(self.cache.kv.keys[0][node.block, 0, offset, 0]) == mark(text[:end])

    def check(self, reader: Reader) -> None:
        for at in range(reader.read):
            block, offset = reader.blocks[at // BLOCK], at % BLOCK
            assert float(self.cache.kv.values[0][block, 0, offset, 1]) == mark(reader.tokens[: at + 1])

    def teardown(self) -> None:
        for reader in self.readers:
            self.cache.release(reader.tokens[: reader.read], reader.blocks)
        while self.cache.tree.evict():
            pass
        assert self.cache.pool.free == BLOCKS
        assert list(self.cache.tree) == []


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def read(cache: PrefixCache, tokens: list[int]) -> tuple[list[int], int]:
    begun = cache.begin(tokens, len(tokens) + 10)
    assert begun is not None
    return begun


def test_a_conversation_goes_on_in_its_last_block() -> None:
    cache = PrefixCache(store())
    first, _ = read(cache, [1] * 40)
    cache.release([1] * 40, list(first))
    second, known = read(cache, [1] * 40 + [2] * 40)
    assert known == 40
    assert second == [*first, first[-1] + 1]


def test_a_fork_copies_the_block_that_it_changes() -> None:
    cache = PrefixCache(store())
    first, _ = read(cache, [1] * 40)
    cache.release([1] * 40, list(first))
    one, known = read(cache, [1] * 39 + [2])
    other, known_too = read(cache, [1] * 40 + [3])
    assert (known, known_too) == (39, 40)
    assert one[0] == other[0] == first[0]
    assert len({one[1], other[1]}) == 2


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    cache = PrefixCache(store(4))
    for token in (1, 2):
        blocks, _ = read(cache, [token] * 64)
        cache.release([token] * 64, blocks)
    assert read(cache, [1] * 65 + [9])[1] == 64
    assert cache.tree.evictions == 1
    assert [node.tokens[0] for node in cache.tree].count(2) == 1


def test_blocks_lie_in_a_row_where_there_is_room() -> None:
    pool = BlockPool(10)
    assert [pool.take(None, 4), pool.take(0, 3)] == [0, 1]
    assert pool.take(None, 8) == 2
    assert pool.take(None, 3) == 3
    pool.drop(1)
    pool.drop(0)
    assert pool.take(None, 100) == 4
    assert pool.take(3, 2) == 0
    assert pool.free == 6


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (BLOCK, 1), (BLOCK + 1, 2)])
def test_blocks_for(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens) == blocks
