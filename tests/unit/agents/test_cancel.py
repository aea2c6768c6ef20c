"""Cancelling: by name, by closing the stream, by cancelling whoever reads it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from support.stage import Played, Stage, WatchedModel, turn

from openhearth.errors import RunError
from openhearth.events import RunFinished, TextDelta, ToolFinished, ToolStarted
from openhearth.storage import ledger
from openhearth.tools.function import tool
from openhearth.types import RunStatus

LONG = "one two three four five six seven eight nine ten"


class Sleeper:
    """An asynchronous tool that notes how it ended."""

    def __init__(self) -> None:
        self.ended = ""
        self.begun = asyncio.Event()

        @tool
        async def sleep() -> str:
            """Sleep for long."""
            self.begun.set()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.ended = "stopped"
                raise
            return "slept"

        self.tool = sleep


async def status_of(stage: Stage, run_id: str) -> RunStatus:
    return (await stage.runtime.run_record(run_id)).status  # type: ignore[return-value]


async def test_cancel_stops_the_model_and_keeps_its_text(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG, delay_s=5)])
    played = Played()
    async for event in stage.stream("Count."):
        played.events.append(event)
        if isinstance(event, TextDelta) and "three" in event.text:
            stage.runtime.cancel(event.run_id)

    assert played.finished.status == "cancelled"
    assert played.finished.error is not None
    assert played.finished.error.code == "cancelled"
    assert played.finished.output == "one two three"
    assert played.finished.usage.completion_tokens == 3
    assert await stage.history(played.finished.thread_id) == [("user", "Count."), ("assistant", "one two three")]
    assert await status_of(stage, played.run_id) == "cancelled"


async def test_closing_the_stream_cancels(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG, delay_s=5)])
    async with aclosing(stage.stream("Count.")) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    assert await status_of(stage, event.run_id) == "cancelled"
    last = (await stage.runtime.run_events(event.run_id))[-1]
    assert isinstance(last, RunFinished)


async def test_cancelling_the_reading_task_cancels(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG, delay_s=5)])
    seen = asyncio.Event()

    async def reader() -> None:
        async for event in stage.stream("Count."):
            if isinstance(event, TextDelta):
                seen.set()

    task = asyncio.create_task(reader())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await stage.runtime.runs()
    assert (row.status, row.owner) == ("cancelled", None)


async def test_cancel_kills_the_tool_and_says_so(stage: Stage) -> None:
    sleeper = Sleeper()
    stage.model, stage.tools = WatchedModel([turn("", ("sleep", {}), ("sleep", {}))]), [sleeper.tool]
    played = Played()
    async for event in stage.stream("Sleep."):
        played.events.append(event)
        if isinstance(event, ToolStarted):
            await sleeper.begun.wait()
            stage.runtime.cancel(event.run_id)

    assert (played.finished.status, sleeper.ended) == ("cancelled", "stopped")
    assert len(played.of(ToolFinished)) == 1
    results = [text for role, text in await stage.history(played.finished.thread_id) if role == "tool"]
    assert len(results) == 2, "both calls have a result, so the thread can go on"
    assert "may have taken effect" in results[0]
    assert "Not run" in results[1]
    with stage.runtime.store.read() as session:
        assert [row.state for row in ledger.list(session, played.run_id)] == ["failed"]


async def test_the_thread_goes_on_after_a_cancelled_run(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG, delay_s=5)])
    async for event in stage.stream("Count."):
        if isinstance(event, TextDelta):
            stage.runtime.cancel(event.run_id)
    again = await stage.run("Go on.", [turn("two")], thread_id=event.thread_id)
    assert again.finished.status == "done"
    assert [m.role for m in stage.model.requests[0].messages] == ["system", "user", "assistant", "user"]


async def test_a_cancelled_run_is_final(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG, delay_s=5)])
    async for event in stage.stream("Count."):
        stage.runtime.cancel(event.run_id)
    with pytest.raises(RunError, match="cancelled"):
        await stage.resume(event.run_id)


async def test_cancel_before_the_first_token(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG)])
    events = []
    async for event in stage.stream("Count."):
        stage.runtime.cancel(event.run_id)
        events.append(event)
    assert Played(events).finished.status == "cancelled"


async def test_a_question_of_a_run_that_ended_is_no_longer_open(stage: Stage) -> None:
    sleeper = Sleeper()
    waiting = await stage.run("Sleep.", [turn("", ("sleep", {}))], sleeper.tool, approve="ask")
    async for event in stage.runtime.resume(waiting.run_id, tools=stage.tools, model=stage.model):
        stage.runtime.cancel(event.run_id)
    assert isinstance(event, RunFinished)
    assert event.status == "cancelled"
    assert await stage.runtime.pending_approvals() == []
    assert [text for role, text in await stage.history(event.thread_id) if role == "tool"]


async def test_cancelling_what_does_not_run_does_nothing(stage: Stage) -> None:
    stage.runtime.cancel("run_nobody")
    played = await stage.run("Hello.", [turn("Hi.")])
    stage.runtime.cancel(played.run_id)
    assert await status_of(stage, played.run_id) == "done"


async def test_closing_the_runtime_cancels_what_runs(stage: Stage) -> None:
    sleeper = Sleeper()
    stage.model, stage.tools = WatchedModel([turn("", ("sleep", {}))]), [sleeper.tool]
    played = Played()

    async def reader() -> None:
        async for event in stage.stream("Sleep."):
            played.events.append(event)

    task = asyncio.create_task(reader())
    await sleeper.begun.wait()
    await stage.runtime.aclose()
    await task
    assert (played.finished.status, sleeper.ended) == ("cancelled", "stopped")


async def test_a_slow_reader_loses_nothing(stage: Stage) -> None:
    stage.model = WatchedModel([turn(LONG)])
    texts, deltas = "", 0
    async for event in stage.stream("Count."):
        await asyncio.sleep(0.05)
        if isinstance(event, TextDelta):
            texts, deltas = texts + event.text, deltas + 1
            assert event.tokens == len(texts.split())
    assert texts == LONG
    assert deltas < 10, "what waited was joined"
