"""What nobody expected still ends in exactly one RunFinished, and is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import text
from support.stage import Stage, WatchedModel, read, turn

from openhearth import paths
from openhearth.agents import driver
from openhearth.errors import RunBusyError, SandboxUnavailableError
from openhearth.events import ModelFinished, RunFinished, TextDelta, ToolFinished, ToolStarted
from openhearth.storage import leases, ledger, runs
from openhearth.storage.columns import utc_now
from openhearth.tools.function import tool
from openhearth.types import ModelRequest, Piece, TextPiece


class Broken(WatchedModel):
    """A backend with a bug."""

    def __init__(self, *, forgets_reply: bool = False) -> None:
        super().__init__([turn("?")])
        self._forgets_reply = forgets_reply

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        yield TextPiece("Half a", 2)
        if not self._forgets_reply:
            raise ZeroDivisionError("a bug")


async def test_a_bug_is_an_internal_error_with_a_traceback_in_the_log(stage: Stage) -> None:
    stage.model = Broken()
    played = await read(stage.stream("Go."))
    error = played.finished.error
    assert error is not None
    assert (played.finished.status, error.code) == ("failed", "internal")
    assert "ZeroDivisionError: a bug" in error.message
    log = (paths.state_dir() / "hearth.log").read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: a bug" in log
    assert await stage.history(played.finished.thread_id) == [("user", "Go."), ("assistant", "Half a")]


async def test_a_stream_without_a_reply_is_the_backends_fault(stage: Stage) -> None:
    stage.model = Broken(forgets_reply=True)
    played = await read(stage.stream("Go."))
    assert played.finished.error is not None
    assert played.finished.error.code == "model"


async def test_a_full_disk_ends_the_stream_and_leaves_the_run_to_be_resumed(stage: Stage) -> None:
    done: list[str] = []

    def limit_database(pages: str) -> None:
        with stage.runtime.store.write() as session:
            session.execute(text(f"PRAGMA max_page_count = {pages}"))

    @tool
    def fill() -> str:
        """Fills the disk while it works."""
        done.append("filled")
        limit_database("1")
        return "x" * 7_000

    last_turn = turn("Done.", expect="outcome of this call is unknown")
    stage.tools, stage.model = [fill], WatchedModel([turn("", ("fill", {})), last_turn])
    played = await read(stage.stream("Fill."))
    error = played.finished.error
    assert error is not None
    assert (played.finished.status, error.code) == ("failed", "disk_full")
    row = await stage.runtime.run_record(played.run_id)
    assert row.status == "running", "not written, so not ended"

    limit_database("1000000")
    again = await stage.resume(played.run_id)
    assert again.finished.status == "in_doubt", "the tool ran, but nobody could write down what came of it"
    await stage.runtime.decide(again.question.approval_id, approve=False, reason="it did happen")
    last = await stage.resume(played.run_id)
    assert (last.finished.status, done) == ("done", ["filled"])


async def test_a_run_that_lost_its_lease_writes_nothing_more(stage: Stage) -> None:
    @tool
    def stolen() -> str:
        """Another process takes the run over meanwhile."""
        with stage.runtime.store.write() as session:
            (row,) = runs.list(session)
            runs.release(session, row.id, row.owner or "", row.fence)
            runs.acquire(session, row.id, "elsewhere/boot/1/1/1/abcd", 60)
        return "stolen"

    stage.tools, stage.model = [stolen], WatchedModel([turn("", ("stolen", {})), turn("Done.")])
    played = await read(stage.stream("Go."))
    error = played.finished.error
    assert error is not None
    assert (played.finished.status, error.code) == ("failed", "run_busy")
    kept = await stage.runtime.run_events(played.run_id)
    assert isinstance(kept[-1], ToolStarted)
    with stage.runtime.store.read() as session:
        assert [row.state for row in ledger.list(session, played.run_id)] == ["intended"]
    assert (await stage.runtime.run_record(played.run_id)).status == "running"


async def test_the_lease_is_kept_while_a_run_works(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LEASE_S", 0.3)
    stage.model = WatchedModel([turn("a b c d e f", delay_s=1.2)])
    ends = set()
    async for event in stage.stream("Go."):
        if isinstance(event, TextDelta):
            row = await stage.runtime.run_record(event.run_id)
            ends.add(row.lease_until)
            assert row.owner
            assert not leases.is_gone(row.owner)
    assert len(ends) > 2
    assert isinstance(event, RunFinished)
    row = await stage.runtime.run_record(event.run_id)
    assert (row.owner, row.lease_until) == (None, None)


async def test_a_run_held_elsewhere_is_busy_until_its_lease_ends(stage: Stage) -> None:
    stage.model = WatchedModel([turn("Hi.")])
    stream = stage.stream("Go.")
    started = await anext(stream)
    await stream.aclose()
    with stage.runtime.store.write() as session:
        runs.update(session, started.run_id, status="running")
        fence = runs.acquire(session, started.run_id, "elsewhere/boot/1/1/1/abcd", 60)
    with pytest.raises(RunBusyError):
        await stage.resume(started.run_id)
    with stage.runtime.store.write() as session:
        runs.renew(session, started.run_id, "elsewhere/boot/1/1/1/abcd", fence, -1)
    assert (await stage.resume(started.run_id)).finished.status == "done"


async def test_without_a_sandbox_nothing_starts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(settings: object) -> None:
        raise SandboxUnavailableError("No sandbox here.")

    monkeypatch.setattr("openhearth.tools.sandbox.open_sandbox", none)
    with pytest.raises(SandboxUnavailableError):
        await stage.run("Compute.", [turn("?")], tools=("python",))
    assert await stage.runtime.runs() == []
    played = await stage.run("Read.", [turn("Hi.")], tools=("read_file",))
    assert played.finished.status == "done", "what needs no sandbox runs without"


async def test_a_tool_that_finds_no_sandbox_ends_the_run(stage: Stage) -> None:
    @tool
    async def compute() -> str:
        """Computes somewhere else."""
        raise SandboxUnavailableError("The sandbox is gone.")

    played = await stage.run("Compute.", [turn("", ("compute", {}))], compute)
    assert played.finished.error is not None
    assert played.finished.error.code == "sandbox_unavailable"
    assert len(played.of(ToolFinished)) == 1


async def test_ending_the_event_loop_ends_the_run(workspace: Path) -> None:
    """Nobody closed anything: asyncio cancels all tasks, and the run is recorded all the same."""
    found: list[str] = []

    def program() -> None:
        async def main() -> None:
            from openhearth.agents.runtime import Runtime
            from openhearth.config import load_settings

            inner = Stage(await Runtime.open(load_settings()), workspace)
            inner.model = WatchedModel([turn("a b c d", delay_s=30)])

            async def reader() -> None:
                async for event in inner.stream("Go."):
                    if isinstance(event, TextDelta):
                        found.append(event.run_id)

            inner.task = asyncio.create_task(reader())  # type: ignore[attr-defined]
            while not found:
                await asyncio.sleep(0.01)

        asyncio.run(main())

    await asyncio.to_thread(program)
    from openhearth.agents.runtime import Runtime
    from openhearth.config import load_settings

    async with await Runtime.open(load_settings()) as runtime:
        row = await runtime.run_record(found[0])
    assert (row.status, row.owner) == ("cancelled", None)
    assert row.updated_at > utc_now() - timedelta(minutes=5)


async def test_the_reply_survives_a_closed_reader(stage: Stage) -> None:
    stage.model = WatchedModel([turn("Hi.")])
    stream = stage.stream("Go.")
    async for event in stream:
        if isinstance(event, ModelFinished):
            break
    await stream.aclose()
    assert await stage.history(event.thread_id) == [("user", "Go."), ("assistant", "Hi.")]
    assert (await stage.runtime.run_record(event.run_id)).status in ("done", "cancelled")
