"""Threads in the chat: reopening, what their last run left open, the list, and long conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tui_stage import ChatStage, ready, send, shown, until

from openhearth.events import (
    ApprovalRequested,
    Event,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from openhearth.tui.driver import Phase
from openhearth.tui.screens.dialogs import ConfirmDialog, TextDialog
from openhearth.tui.screens.threads import ThreadsScreen
from openhearth.tui.widgets.conversation import MAX_TURNS, PAGE, EarlierTurns
from openhearth.tui.widgets.decision import ApprovalPanel, ResumePanel
from openhearth.tui.widgets.markdown import Reply
from openhearth.tui.widgets.messages import ErrorMessage, UserMessage
from openhearth.tui.widgets.tool_card import ToolCard
from openhearth.tui.widgets.turn import TurnView
from openhearth.types import Message, ModelInfo, Timings, ToolCall, ToolOutput, Usage

SCRIPT = """
- {match: look, text: Let me see., calls: [{name: list_files, arguments: {path: "."}}]}
- {match: look, text: "There is **one** file.", repeat: true}
- {match: note, calls: [{name: write_file, arguments: {path: note.md, content: "Hello.\\n"}}]}
- {match: note, text: As you wish., repeat: true}
- {text: Good day., repeat: true}
"""
MODEL = ModelInfo(reference="scripted:", backend="scripted", context_length=1000)
CALL = ToolCall(id="call_1", name="write_file", arguments={"path": "note.md", "content": "Hello.\n"})


@pytest.fixture
def stage(tmp_path: Path) -> ChatStage:
    stage = ChatStage(tmp_path, SCRIPT)
    (stage.workspace / "orders.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    return stage


def said(ids: dict[str, Any], text: str, *calls: ToolCall) -> ModelFinished:
    message = Message(role="assistant", content=text, tool_calls=calls)
    return ModelFinished(**ids, message=message, usage=Usage(), timings=Timings(), context_used=90, context_length=1000)


def short(ids: dict[str, Any]) -> Iterator[Event]:
    yield RunStarted(**ids, task="", model=MODEL, approve="ask")
    yield said(ids, "So be it.")
    yield RunFinished(**ids, status="done")


async def test_a_reopened_thread_shows_its_history_with_tool_cards(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await send(pilot, "look around")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        thread_id = app.chat.driver.thread_id
        used = app.chat.driver.meters.context_used
    again = stage.app(thread_id=thread_id)
    async with again.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        assert again.chat.query_one(UserMessage).plain == "look around"
        assert [reply.plain for reply in again.chat.query(Reply)] == ["Let me see.", "There is **one** file."]
        card = again.chat.query_one(ToolCard)
        assert card.state == "ok"
        assert "orders.csv" in shown(again)
        assert again.chat.driver.meters.context_used == used
        await pilot.press("up")
        assert again.chat.query_one("Prompt").text == "look around"
        await pilot.press("ctrl+n")
        assert not again.chat.query(TurnView)


async def test_a_waiting_run_asks_again_when_its_thread_is_reopened(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "make a note")
        await until(pilot, lambda: app.chat.query(ApprovalPanel))
        thread_id = app.chat.driver.thread_id
    assert stage.status() == "waiting"
    again = stage.app(thread_id=thread_id)
    async with again.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: again.chat.query(ApprovalPanel) and again.chat.query_one(ApprovalPanel).armed)
        assert again.chat.query_one(ToolCard).state == "waiting"
        await pilot.press("a")
        await until(pilot, lambda: again.chat.driver.phase is Phase.READY)
        assert (stage.workspace / "note.md").is_file()
        assert "As you wish." in shown(again)
    assert stage.status() == "done"


async def test_a_call_in_doubt_is_explained(stage: ChatStage) -> None:
    def happened(ids: dict[str, Any]) -> Iterator[Event]:
        yield RunStarted(**ids, task="", model=MODEL, approve="auto")
        yield said(ids, "", CALL)
        yield ToolStarted(**ids, call=CALL)
        yield ApprovalRequested(**ids, approval_id="", call=CALL, in_doubt=True)
        yield RunFinished(**ids, status="in_doubt")

    thread_id = stage.thread("Doubtful")
    stage.run(thread_id, "make a note", happened, status="in_doubt")
    app = stage.app(thread_id=thread_id)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.chat.query(ApprovalPanel))
        assert app.chat.query_one(ToolCard).state == "in_doubt"
        assert "whether it finished is unknown" in shown(app)


async def test_an_interrupted_run_offers_to_go_on(stage: ChatStage) -> None:
    thread_id = stage.thread("Cut off")
    stage.run(
        thread_id, "look around", lambda ids: [RunStarted(**ids, task="", model=MODEL, approve="ask")], status="running"
    )
    app = stage.app(thread_id=thread_id)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.chat.query(ResumePanel) and app.chat.query_one(ResumePanel).armed)
        assert app.chat.driver.phase is Phase.INTERRUPTED
        await pilot.press("r")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        assert "There is one file." in shown(app)
        assert len(app.chat.query(TurnView)) == 1
    assert stage.status() == "done"


async def test_a_thread_that_does_not_exist_is_told_and_a_new_one_begun(stage: ChatStage) -> None:
    app = stage.app(thread_id="thr_nowhere")
    async with app.run_test() as pilot:
        await ready(pilot)
        assert "thr_nowhere" in shown(app)
        assert app.chat.query(ErrorMessage)
        await send(pilot, "hello")
        await until(pilot, lambda: app.chat.query("TurnEnd"))


async def test_threads_are_searched_and_opened(stage: ChatStage) -> None:
    for title, hours in (("Sales in March", 2), ("The sandbox", 5), ("March of the ants", 9)):
        stage.run(stage.thread(title, hours_ago=hours), title, short)
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "The sandbox" in shown(app))
        await pilot.press(*"march", "space", *"ants")
        await until(pilot, lambda: "The sandbox" not in shown(app))
        assert "Sales in March" not in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.query(TurnView))
        assert app.screen is app.chat
        assert "March of the ants" in shown(app)


async def test_a_thread_is_renamed(stage: ChatStage) -> None:
    stage.thread("Old name")
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Old name" in shown(app))
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press(*"Better", "enter")
        await until(pilot, lambda: isinstance(app.screen, ThreadsScreen) and "Better" in shown(app))
        assert "Old name" not in shown(app)


async def test_a_thread_is_deleted_after_a_question(stage: ChatStage) -> None:
    doomed = stage.thread("Doomed", hours_ago=1)
    stage.run(doomed, "hello", short)
    stage.thread("Kept", hours_ago=2)
    app = stage.app(thread_id=doomed)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Kept" in shown(app))
        for answer, left in (("n", {"Doomed", "Kept"}), ("y", {"Kept"})):
            await pilot.press("f8")
            await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
            await pilot.press(answer)
            await until(pilot, lambda: isinstance(app.screen, ThreadsScreen))
            await pilot.pause()
            assert {thread.title for thread in await app.session.threads()} == left
        await pilot.press("escape")
        await until(pilot, lambda: app.chat.driver.thread_id is None)
        assert not app.chat.query(TurnView)


async def test_old_turns_leave_the_screen_and_can_be_loaded_back(stage: ChatStage) -> None:
    thread_id = stage.thread("Long")
    for number in range(MAX_TURNS + PAGE + 3):
        stage.run(thread_id, f"task {number}", short)
    app = stage.app(thread_id=thread_id)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert len(app.chat.query(TurnView)) == MAX_TURNS
        assert app.chat.query(UserMessage).first().plain == f"task {PAGE + 3}"
        await pilot.press("ctrl+home")
        app.chat.query_one(EarlierTurns).focus()
        await pilot.press("enter")
        await until(pilot, lambda: len(app.chat.query(TurnView)) == MAX_TURNS + PAGE)
        assert app.chat.query(UserMessage).first().plain == "task 3"
        assert "3 earlier turns" in str(app.chat.query_one(EarlierTurns).render())
        await send(pilot, "hello")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY and len(app.chat.query(TurnView)) == MAX_TURNS)
        assert len(app.chat.query_one("Conversation").hidden) == PAGE + 4


async def test_results_and_changes_are_rebuilt_from_what_was_kept(stage: ChatStage) -> None:
    def happened(ids: dict[str, Any]) -> Iterator[Event]:
        yield RunStarted(**ids, task="", model=MODEL, approve="auto")
        yield said(ids, "", CALL)
        yield ToolStarted(**ids, call=CALL)
        yield ToolFinished(**ids, call=CALL, output=ToolOutput(content="No space left.", ok=False), duration_s=1.25)
        yield RunFinished(**ids, status="failed")

    thread_id = stage.thread("Failed")
    stage.run(thread_id, "make a note", happened, status="failed")
    app = stage.app(thread_id=thread_id)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert app.chat.query_one(ToolCard).state == "failed"
        assert "No space left." in shown(app)
        assert "1.2 s" in shown(app)
