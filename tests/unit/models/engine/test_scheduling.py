"""Many requests at once: who gets which rows and blocks, and that nobody notices the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.engines import Script, collect, request, tiny_engine
from support.tiny import VOCABULARY, random_ids

from openhearth.errors import ContextOverflowError
from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.models.layers.paged import BLOCK
from openhearth.types import Sampling


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = tiny_engine(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Engine]:
    """One whose memory holds 85 blocks, 2,720 tokens."""
    engine = tiny_engine(tmp_path, cache_mb=1)
    assert engine.metrics().budget_bytes == 85 * 3 * 2 * 2 * 8 * BLOCK * 4
    yield engine
    engine.close()


async def run(engine: Engine, asked: GenerationRequest) -> tuple[list[int], Finished]:
    tokens: list[int] = []
    async for output in engine.generate(asked):
        if isinstance(output, Finished):
            return tokens, output
        assert isinstance(output, Token)
        tokens.append(output.id)
    raise AssertionError("no end")


@asynccontextmanager
async def stepping(engine: Engine) -> AsyncIterator[None]:
    """Keep the engine busy with one request that is decoding."""

    async def listen() -> None:
        async for _ in outputs:
            begun.set()

    begun = asyncio.Event()
    outputs = engine.generate(request(random_ids(5, seed=999), None))
    task = asyncio.create_task(listen())
    await begun.wait()
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def all_free(engine: Engine) -> bool:
    metrics = engine.metrics()
    return metrics.running == metrics.waiting == 0


async def test_steps_are_shared(engine: Engine) -> None:
    prompts = [random_ids(20, seed=seed) for seed in range(8)]
    expected = [collect(engine, request(prompt, 40))[0] for prompt in prompts]
    before = engine.metrics()
    found = await asyncio.gather(*(run(engine, request(prompt, 40)) for prompt in prompts))
    assert [tokens for tokens, _ in found] == expected
    after = engine.metrics()
    assert after.completion_tokens - before.completion_tokens == 320
    assert after.steps - before.steps < 80
    assert all_free(engine)


async def test_seeded_draws_do_not_depend_on_company(engine: Engine) -> None:
    asked = [
        request(random_ids(15, seed=seed), sampling=Sampling(temperature=1.2, top_p=0.9, seed=seed, max_tokens=30))
        for seed in range(6)
    ]
    expected = [collect(engine, one)[0] for one in asked]
    assert [tokens for tokens, _ in await asyncio.gather(*(run(engine, one) for one in asked))] == expected


async def test_a_long_prompt_does_not_stop_those_who_decode(engine: Engine) -> None:
    async with stepping(engine):
        before = engine.metrics()
        await run(engine, request(random_ids(900, seed=1), 1))
        after = engine.metrics()
    # While others decode, a prompt has 32 rows of each step.
    assert after.steps - before.steps >= 900 // 32


async def test_a_short_prompt_overtakes_a_long_one(engine: Engine) -> None:
    order: list[str] = []

    async def ask(name: str, length: int) -> None:
        await run(engine, request(random_ids(length, seed=length), 2))
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("long", 1000))
        group.create_task(ask("short", 40))
    assert order == ["short", "long"]


async def test_a_common_beginning_is_read_once(engine: Engine) -> None:
    system = random_ids(512, seed=2)
    prompts = [[*system, *random_ids(20, seed=seed)] for seed in range(10, 14)]
    before = engine.metrics()
    found = await asyncio.gather(*(run(engine, request(prompt, 5)) for prompt in prompts))
    assert [end.usage.cached_tokens for _, end in found] == [0, 512, 512, 512]
    after = engine.metrics()
    assert after.hit_tokens - before.hit_tokens == 3 * 512
    assert after.prompt_tokens - before.prompt_tokens == 4 * 532
    assert after.rows - before.rows < 512 + 4 * (20 + 5 + 40)
    fresh = [collect(engine, request(prompt, 5))[0] for prompt in prompts]
    assert [tokens for tokens, _ in found] == fresh


async def test_a_running_request_can_be_forked(engine: Engine) -> None:
    prompt = random_ids(100, seed=3)
    outputs = engine.generate(request(prompt, None))
    said: list[int] = []
    async for output in outputs:
        assert isinstance(output, Token)
        said.append(output.id)
        if len(said) == 60:
            break
    fork = [*prompt, *said[:50], *random_ids(10, seed=4)]
    tokens, end = await run(engine, request(fork, 10))
    assert end.usage.cached_tokens >= 128
    assert tokens == collect(engine, request(fork, 10))[0]
    await outputs.aclose()


async def test_who_steps_back_never_notices(small: Engine, tmp_path: Path) -> None:
    roomy = tiny_engine(tmp_path / "roomy")
    prompts = [random_ids(150 + 10 * seed, seed=20 + seed) for seed in range(8)]
    asked = [
        request(prompt, sampling=Sampling(max_tokens=200, temperature=0.8 * (seed % 2), seed=seed))
        for seed, prompt in enumerate(prompts)
    ]
    expected = [collect(roomy, one) for one in asked]
    found = await asyncio.gather(*(run(small, one) for one in asked))
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    assert [end.usage.completion_tokens for _, end in found] == [200] * 8
    metrics = small.metrics()
    assert metrics.preemptions > 0
    assert metrics.evictions > 0
    assert all_free(small)
    roomy.close()


async def test_requests_wait_in_order_for_memory(small: Engine) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        await run(small, request(random_ids(1000, seed=number), 3))
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(ask(number))
    assert sorted(order[:2]) == [0, 1]
    assert sorted(order[2:4]) == [2, 3]
    assert small.metrics().used_bytes <= small.metrics().budget_bytes


def test_what_can_never_fit_is_refused_with_its_numbers(tmp_path: Path) -> None:
    engine = tiny_engine(tmp_path, context=1024, cache_mb=1, num_hidden_layers=24)
    assert engine.context_length == 10 * BLOCK
    with pytest.raises(ContextOverflowError, match="The prompt has 330 tokens; the context of 320"):
        collect(engine, request(random_ids(330)))
    tokens, end = collect(engine, request(random_ids(300), None))
    assert len(tokens) == 20
    assert end.reason == "length"
    assert engine.metrics().steps == 3 + 19 - engine.metrics().accepted_tokens
    engine.close()


async def test_waiting_ends_at_the_deadline(small: Engine) -> None:
    async with stepping(small), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(run(small, request(random_ids(1000, seed=seed), 200, deadline=time.monotonic() + 0.3)))
            for seed in range(4)
        ]
    assert {task.result()[1].reason for task in tasks} == {"length"}


async def test_cancelled_while_waiting(small: Engine) -> None:
    async with stepping(small):
        tasks = [asyncio.create_task(run(small, request(random_ids(1000, seed=seed), 500))) for seed in range(4)]
        while not small.metrics().waiting:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while small.metrics().running > 1 or small.metrics().waiting:
            await asyncio.sleep(0.001)
    tokens, _ = await run(small, request(random_ids(1000, seed=1), 5))
    assert len(tokens) == 5


class FailsAtOnce(Script):
    def forced(self) -> list[int]:
        raise LookupError("no grammar")


async def test_a_constraint_that_fails_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(LookupError, match="no grammar"):
        await run(engine, request(random_ids(5), constraint=FailsAtOnce([None], VOCABULARY)))
    assert all_free(engine)
    assert engine.metrics().prompt_tokens == 0


async def test_forced_tokens_are_read_with_what_follows(engine: Engine) -> None:
    before = engine.metrics()
    script = Script([None, list(range(10, 30)), None, list(range(30, 35))], VOCABULARY)
    tokens, _ = await run(engine, request(random_ids(9), 60, constraint=script))
    assert tokens[1:21] == list(range(10, 30))
    assert tokens[22:] == list(range(30, 35))
    after = engine.metrics()
    assert after.steps - before.steps == 2
    assert after.rows - before.rows == 9 + 21
