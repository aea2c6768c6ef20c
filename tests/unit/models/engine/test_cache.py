"""Which conversation gets which cache, and what of it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from openhearth.models.engine.cache import CachePool, SequenceCache
from openhearth.models.layers.paged import BLOCK, KVStore, Span

CPU = torch.device("cpu")


def fill(pool: CachePool, cache: SequenceCache, tokens: Sequence[int]) -> None:
    """What a forward step over `tokens` leaves; the numbers tell where they came from."""
    start, end = cache.length, cache.length + len(tokens)
    marks = torch.tensor([float(token) for token in tokens])[:, None].expand(-1, 8)
    for index, layer in enumerate(pool.kv.views([Span(0, end - start, end, cache.blocks[0] * BLOCK)])):
        layer.write(marks + 1000 * index, torch.empty(0))
    cache.length = end
    cache.tokens.extend(tokens)


def holds(pool: CachePool, cache: SequenceCache, tokens: Sequence[int]) -> bool:
    marks = torch.tensor([float(token) for token in tokens])
    layers = pool.kv.views([Span(0, 1, cache.length, cache.blocks[0] * BLOCK)])
    return cache.tokens == list(tokens) and all(
        torch.equal(side[0, 0, :, 0], marks + 1000 * index)
        for index, layer in enumerate(layers)
        for side in layer.read(0, lambda _: torch.empty(0))
    )


def talk(pool: CachePool, prompt: Sequence[int], key: str | None) -> tuple[SequenceCache, int]:
    """Run a whole request; the cache it had, and how much of the prompt was in it."""
    cache = pool.acquire(prompt, key)
    reused = cache.length
    assert reused < len(prompt)
    fill(pool, cache, prompt[reused:])
    assert holds(pool, cache, prompt)
    pool.release(cache)
    return cache, reused


@pytest.fixture
def pool() -> CachePool:
    return CachePool(KVStore(2, 1, 4, 256, device=CPU), 2)


def test_a_conversation_continues_in_its_cache(pool: CachePool) -> None:
    first, reused = talk(pool, [1, 2, 3], "a")
    assert reused == 0
    second, reused = talk(pool, [1, 2, 3, 4, 5], "a")
    assert second is first
    assert reused == 3


def test_the_last_token_always_runs(pool: CachePool) -> None:
    talk(pool, [1, 2, 3], "a")
    assert talk(pool, [1, 2, 3], "a")[1] == 2


def test_an_edited_conversation_keeps_what_is_before_the_edit(pool: CachePool) -> None:
    talk(pool, [1, 2, 3, 4], "a")
    assert talk(pool, [1, 2, 9, 9], "a")[1] == 2
    assert talk(pool, [7], "a")[1] == 0


def test_another_conversation_copies_and_leaves_the_first_whole(pool: CachePool) -> None:
    first, _ = talk(pool, [1, 2, 3, 4], "a")
    second, reused = talk(pool, [1, 2, 3, 8, 8], "b")
    assert second is not first
    assert reused == 3
    assert holds(pool, first, [1, 2, 3, 4])
    assert talk(pool, [1, 2, 3, 4, 5], "a")[1] == 4


def test_without_a_key_a_continuation_is_recognised(pool: CachePool) -> None:
    first, _ = talk(pool, [1, 2, 3], None)
    again, reused = talk(pool, [1, 2, 3, 4], None)
    assert again is first
    assert reused == 3
    assert talk(pool, [1, 2, 9], None)[0] is not first


def test_a_longer_match_elsewhere_wins_over_the_own_cache(pool: CachePool) -> None:
    talk(pool, [1, 2, 3, 4, 5, 6], "a")
    own, _ = talk(pool, [9, 9], "b")
    cache, reused = talk(pool, [1, 2, 3, 4, 7], "b")
    assert cache is own
    assert reused == 4


def test_the_least_recently_used_makes_room(pool: CachePool) -> None:
    talk(pool, [1, 1], "a")
    talk(pool, [2, 2], "b")
    talk(pool, [1, 1, 1], "a")
    talk(pool, [3, 3], "c")
    assert talk(pool, [1, 1, 1, 1], "a")[1] == 3
    assert talk(pool, [2, 2, 2], "b")[1] == 0


def test_busy_caches_are_copied_but_never_touched(pool: CachePool) -> None:
    busy = pool.acquire([1, 2, 3], "a")
    fill(pool, busy, [1, 2, 3])
    other = pool.acquire([1, 2, 3, 4], "a")
    assert other is not busy
    assert holds(pool, other, [1, 2, 3])
    assert holds(pool, busy, [1, 2, 3])
