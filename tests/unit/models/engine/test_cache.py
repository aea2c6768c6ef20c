"""Which conversation gets which cache, and what of it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from openhearth.models.engine.cache import CachePool, SequenceCache
from openhearth.models.loading.config import DecoderConfig

CPU = torch.device("cpu")
CONFIG = DecoderConfig(
    architecture="llama",
    vocab_size=50_000,
    hidden_size=8,
    intermediate_size=8,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=4,
    rms_eps=1e-5,
    rope_theta=1e4,
    rope_scaling=None,
    max_context=4096,
    tie_embeddings=True,
    attention_bias=False,
    bos_id=None,
    eos_ids=(),
    add_bos=False,
)


def fill(cache: SequenceCache, tokens: Sequence[int]) -> None:
    """What a forward step over `tokens` leaves; the numbers tell where they came from."""
    start, end = cache.length, cache.length + len(tokens)
    for index, layer in enumerate(cache.views(end)):
        marks = torch.tensor([float(token) for token in tokens]) + 1000 * index
        layer.new.copy_(marks[:, None, None, None].expand(layer.new.shape))
    assert start <= end
    cache.length = end
    cache.tokens.extend(tokens)


def holds(cache: SequenceCache, tokens: Sequence[int]) -> bool:
    marks = torch.tensor([float(token) for token in tokens])
    return cache.tokens == list(tokens) and all(
        torch.equal(side[0, 0, :, 0], marks + 1000 * index)
        for index, layer in enumerate(cache.views(cache.length))
        for side in (layer.keys, layer.values)
    )


def talk(pool: CachePool, prompt: Sequence[int], key: str | None) -> tuple[SequenceCache, int]:
    """Run a whole request; the cache it had, and how much of the prompt was in it."""
    cache = pool.acquire(prompt, key)
    reused = cache.length
    assert reused < len(prompt)
    fill(cache, prompt[reused:])
    assert holds(cache, prompt)
    pool.release(cache)
    return cache, reused


@pytest.fixture
def pool() -> CachePool:
    return CachePool(CONFIG, 2, 4096, CPU)


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
    assert holds(first, [1, 2, 3, 4])
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
    fill(busy, [1, 2, 3])
    other = pool.acquire([1, 2, 3, 4], "a")
    assert other is not busy
    assert holds(other, [1, 2, 3])
    assert holds(busy, [1, 2, 3])


def test_growth_keeps_what_is_there() -> None:
    cache = SequenceCache(CONFIG, 4096, CPU)
    tokens = list(range(2000))
    for start in range(0, 2000, 300):
        fill(cache, tokens[start : start + 300])
    assert holds(cache, tokens)
    cache.truncate(700)
    assert holds(cache, tokens[:700])
    fill(cache, tokens[700:900])
    assert holds(cache, tokens[:900])
