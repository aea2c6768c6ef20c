"""Runs with the built-in tools, in the real sandbox, over a real folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stage import Played, Stage, WatchedModel, turn

from openhearth.agents.runtime import Runtime
from openhearth.config import load_settings
from openhearth.events import ToolFinished, ToolStarted


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "sales.csv").write_text("day,amount\n2024-03-01,5\n2024-03-02,7\n")
    async with await Runtime.open(load_settings()) as runtime:
        yield Stage(runtime, folder)


SUM = "import csv\nprint(sum(int(row['amount']) for row in csv.DictReader(open('sales.csv'))))"


async def test_code_runs_over_the_workspace_and_the_model_sees_the_data_first(stage: Stage) -> None:
    played = await stage.run(
        "What was sold?", [turn("", ("python", {"code": SUM})), turn("12.", expect="12")], tools=("python",)
    )
    assert played.finished.status == "done"
    assert "12" in played.of(ToolFinished)[0].output.content
    system = stage.model.requests[0].messages[0].content
    assert "sales.csv" in system
    assert "amount" in system


async def test_the_system_prompt_follows_the_data(stage: Stage) -> None:
    first = await stage.run("One.", [turn("1")], tools=("python",))
    thread_id = first.finished.thread_id
    await stage.run("Two.", [turn("2")], tools=("python",), thread_id=thread_id)
    unchanged = stage.model.requests[0].messages[0].content
    (stage.workspace / "costs.csv").write_text("day,cost\n2024-03-01,1\n")
    await stage.run("Three.", [turn("3")], tools=("python",), thread_id=thread_id)
    system, *rest = stage.model.requests[0].messages
    assert "costs.csv" not in unchanged
    assert "costs.csv" in system.content
    assert all(message.role != "system" for message in rest)


async def test_a_change_is_previewed_approved_and_made(stage: Stage) -> None:
    arguments = {"path": "note.txt", "content": "hello\n"}
    played = await stage.run(
        "Write.", [turn("", ("write_file", arguments)), turn("Written.")], tools=("write_file",), approve="ask"
    )
    assert played.finished.status == "waiting"
    assert "+hello" in played.question.preview
    assert not (stage.workspace / "note.txt").exists()
    await stage.runtime.decide(played.question.approval_id, approve=True)
    again = await stage.resume(played.run_id)
    assert again.finished.status == "done"
    assert (stage.workspace / "note.txt").read_text() == "hello\n"
    assert [change.path for change in again.of(ToolFinished)[0].output.changes] == ["note.txt"]


async def test_reading_needs_no_approval(stage: Stage) -> None:
    script = [turn("", ("read_file", {"path": "sales.csv"})), turn("Read.", expect="2024-03-02")]
    played = await stage.run("Read.", script, tools=("read_file",), approve="ask")
    assert played.finished.status == "done"


async def test_cancel_kills_the_program_in_the_sandbox(stage: Stage) -> None:
    code = "import time\nopen('begun', 'w').close()\ntime.sleep(1000)"
    stage.model, played = WatchedModel([turn("", ("python", {"code": code}))]), Played()
    async for event in stage.stream("Wait.", tools=("python",)):
        played.events.append(event)
        if isinstance(event, ToolStarted):
            await asyncio.sleep(0.5)
            stage.runtime.cancel(event.run_id)
    assert played.finished.status == "cancelled"
    assert played.finished.duration_s < 60


async def test_the_time_budget_kills_the_program_too(stage: Stage) -> None:
    script = [turn("", ("python", {"code": "import time\ntime.sleep(1000)"}))]
    played = await stage.run("Wait.", script, tools=("python",), max_time_s=8)
    assert played.finished.error is not None
    assert (played.finished.status, played.finished.error.code) == ("failed", "budget")
