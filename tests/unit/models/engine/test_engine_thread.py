"""Many requests, one thread: turns, cancelling, failures, closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from support.engines import Script, collect, request, tiny_engine
from support.tiny import VOCABULARY, random_ids

from openhearth.errors import ModelUnavailableError
from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = tiny_engine(tmp_path_factory.mktemp("tiny"))
    yield engine
    engine.close()


async def gather(engine: Engine, asked: GenerationRequest) -> list[int]:
    return [output.id async for output in engine.generate(asked) if isinstance(output, Token)]


class Counting(Script):
    """Counts the tokens that it was asked about, whoever is still listening."""

    def __init__(self, steps: int) -> None:
        super().__init__([None] * steps, VOCABULARY)
        self.closed_at: int | None = None


async def test_concurrent_requests_do_not_mix(engine: Engine) -> None:
    prompts = [random_ids(20 + 5 * i, seed=100 + i) for i in range(7)]
    expected = [collect(engine, request(prompt, 12))[0] for prompt in prompts]
    assert await asyncio.gather(*(gather(engine, request(prompt, 12)) for prompt in prompts)) == expected


async def test_requests_take_turns(engine: Engine) -> None:
    order: list[str] = []

    async def listen(name: str, count: int) -> None:
        async for output in engine.generate(request(random_ids(10), count)):
            if isinstance(output, Finished):
                order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(listen("long", 400))
        group.create_task(listen("short", 3))
    assert order == ["short", "long"]


async def test_threads_and_event_loops_share_the_engine(engine: Engine) -> None:
    prompt = random_ids(25, seed=3)
    expected = collect(engine, request(prompt, 10))[0]
    results: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: results.append(collect(engine, request(prompt, 10))[0])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert await gather(engine, request(prompt, 10)) == expected
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert results == [expected] * 3


async def test_closing_the_iterator_stops_within_a_token(engine: Engine) -> None:
    script = Counting(1000)
    seen = 0
    async with aclosing(engine.generate(request(random_ids(8), None, constraint=script))) as outputs:
        async for _ in outputs:
            seen += 1
            if seen == 3:
                break
    at_close = len(script.accepted)
    # Whatever runs next finds the thread free: the cancelled request took at most the step it was in.
    await gather(engine, request(random_ids(8, seed=1), 2))
    await asyncio.sleep(0.05)
    assert len(script.accepted) <= at_close + 1


async def test_cancelling_the_task_cancels_the_request(engine: Engine) -> None:
    script = Counting(1000)
    task = asyncio.create_task(gather(engine, request(random_ids(8), None, constraint=script)))
    while not script.accepted:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    at_close = len(script.accepted)
    await gather(engine, request(random_ids(8, seed=1), 2))
    await asyncio.sleep(0.05)
    assert len(script.accepted) <= at_close + 1


def test_what_was_cancelled_serves_the_next(engine: Engine) -> None:
    prompt = random_ids(200, seed=42)
    outputs = engine.generate_sync(request(prompt, None))
    next(outputs)
    outputs.close()
    _, finished = collect(engine, request([*prompt, 9, 9], 2))
    assert finished.usage.cached_tokens >= 200


class Failing(Script):
    def mask(self) -> torch.Tensor | None:
        if len(self.accepted) == 2:
            raise LookupError("the grammar broke")
        return None


async def test_a_failure_is_its_own_requests_alone(engine: Engine) -> None:
    prompt = random_ids(18, seed=5)
    expected = collect(engine, request(prompt, 30))[0]

    async def fail() -> list[int]:
        return await gather(engine, request(prompt, 30, constraint=Failing([None] * 30, VOCABULARY)))

    good, bad = await asyncio.gather(gather(engine, request(prompt, 30)), fail(), return_exceptions=True)
    assert good == expected
    assert isinstance(bad, LookupError)
    assert collect(engine, request(prompt, 30))[0] == expected


async def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    engine = tiny_engine(tmp_path)
    under_way = engine.generate(request(random_ids(5), None))
    await anext(under_way)
    waiting = asyncio.create_task(gather(engine, request(random_ids(5), None)))
    await asyncio.sleep(0)
    await asyncio.to_thread(engine.close)
    with pytest.raises(ModelUnavailableError, match="closed"):
        async for _ in under_way:
            pass
    with pytest.raises(ModelUnavailableError, match="closed"):
        await waiting
    with pytest.raises(ModelUnavailableError, match="closed"):
        await gather(engine, request(random_ids(5)))
    engine.close()


async def test_a_listener_whose_loop_is_gone_harms_nobody(engine: Engine) -> None:
    def leave() -> None:
        async def start() -> None:
            outputs = engine.generate(request(random_ids(5), None))
            await anext(outputs)
            kept.append(outputs)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(start())
        loop.close()

    kept: list[object] = []
    await asyncio.to_thread(leave)
    assert len(await gather(engine, request(random_ids(5, seed=2), 3))) == 3


def test_no_thread_is_left(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    engine = tiny_engine(tmp_path)
    assert set(threading.enumerate()) - before
    engine.close()
    assert not set(threading.enumerate()) - before
