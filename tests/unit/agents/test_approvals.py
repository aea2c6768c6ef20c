"""Who decides about a call: the policy, or a person."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support.stage import Stage, read, turn

from openhearth.agents.approval import rule
from openhearth.agents.runtime import Runtime
from openhearth.config import load_settings
from openhearth.errors import NotFoundError, RunError, StorageError, ToolError
from openhearth.events import ApprovalDecided, ApprovalRequested, ModelFinished, RunResumed, ToolFinished, ToolStarted
from openhearth.storage import ledger
from openhearth.tools.base import Tool
from openhearth.tools.function import tool
from openhearth.types import ToolAnnotations


def sending(sent: list[str]) -> Tool:
    @tool(preview=lambda arguments, context: f"To everybody: {arguments['text']}")
    def send(text: str) -> str:
        """Send a message to everybody."""
        sent.append(text)
        return f"sent {text}"

    return send


SCRIPT = [turn("", ("send", {"text": "hi"})), turn("Done.")]


@pytest.mark.parametrize(
    ("policy", "annotations", "own", "ruling"),
    [
        ("ask", {"read_only": True}, False, "run"),
        ("ask", {}, False, "ask"),
        ("ask", {}, True, "ask"),
        ("auto", {}, False, "run"),
        ("auto", {}, True, "run"),
        ("never", {}, True, "refuse"),
        ("never", {"read_only": True}, False, "run"),
        # The network leaves the sandbox, even for reading, unless the program brought the tool itself.
        ("auto", {"network": True}, False, "ask"),
        ("auto", {"network": True}, True, "run"),
        ("ask", {"read_only": True, "network": True}, False, "ask"),
        ("ask", {"read_only": True, "network": True}, True, "run"),
        ("never", {"read_only": True, "network": True}, False, "refuse"),
    ],
)
def test_rule(policy: Any, annotations: dict[str, bool], own: bool, ruling: str) -> None:
    assert rule(policy, ToolAnnotations(**annotations), own=own) == ruling


def test_never_is_never_laxer_than_ask_and_ask_never_than_auto() -> None:
    order = ["run", "ask", "refuse"]
    for values in itertools.product((False, True), repeat=3):
        annotations = ToolAnnotations(read_only=values[0], network=values[1])
        strictness = [order.index(rule(policy, annotations, own=values[2])) for policy in ("auto", "ask", "never")]
        assert strictness == sorted(strictness)


async def test_ask_waits_and_runs_nothing(stage: Stage) -> None:
    sent: list[str] = []
    played = await stage.run("Greet.", SCRIPT, sending(sent), approve="ask")

    assert played.finished.status == "waiting"
    assert played.question.preview == "To everybody: hi"
    assert not played.question.in_doubt
    assert sent == []
    (pending,) = await stage.runtime.pending_approvals()
    assert pending.id == played.question.approval_id
    row = await stage.runtime.run_record(played.run_id)
    assert (row.status, row.owner) == ("waiting", None)


async def test_approved_call_runs_once(stage: Stage) -> None:
    sent: list[str] = []
    played = await stage.run("Greet.", SCRIPT, sending(sent), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=True, by="ada")
    again = await stage.resume(played.run_id)

    assert sent == ["hi"]
    assert isinstance(again.events[0], RunResumed)
    assert (again.finished.status, again.finished.output) == ("done", "Done.")
    assert (again.finished.steps, again.finished.tool_calls) == (2, 1), "the whole run is counted"
    (decided,) = [e for e in await stage.runtime.run_events(played.run_id) if isinstance(e, ApprovalDecided)]
    assert (decided.approved, decided.by) == (True, "ada")


async def test_another_process_can_decide_and_go_on(stage: Stage) -> None:
    sent: list[str] = []
    played = await stage.run("Greet.", SCRIPT, sending(sent), approve="ask")
    await stage.runtime.aclose()

    async with await Runtime.open(load_settings()) as other:
        row = await other.decide(played.question.approval_id[-7:], approve=True)
        assert row.status == "approved"
        again = await read(other.resume(played.run_id[-7:], tools=stage.tools, model=stage.model))
    assert (again.finished.status, sent) == ("done", ["hi"])


async def test_denied_call_is_told_with_its_reason(stage: Stage) -> None:
    sent: list[str] = []
    script = [SCRIPT[0], turn("Then not.", expect="Reason: too early")]
    played = await stage.run("Greet.", script, sending(sent), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=False, reason="too early")
    again = await stage.resume(played.run_id)

    assert (again.finished.status, sent) == ("done", [])
    assert "denied" in again.of(ToolFinished)[0].output.content


async def test_a_person_can_change_the_arguments(stage: Stage) -> None:
    sent: list[str] = []
    script = [SCRIPT[0], turn("Done.", expect='changed the arguments of this call to {"text": "hello"}')]
    played = await stage.run("Greet.", script, sending(sent), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=True, arguments={"text": "hello"})
    again = await stage.resume(played.run_id)

    assert sent == ["hello"]
    assert again.of(ToolStarted)[0].call.arguments == {"text": "hello"}
    with stage.runtime.store.read() as session:
        (row,) = ledger.list(session, played.run_id)
    assert row.arguments == {"text": "hello"}


async def test_changed_arguments_are_checked(stage: Stage) -> None:
    sent: list[str] = []
    played = await stage.run("Greet.", SCRIPT, sending(sent), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=True, arguments={"txt": "hello"})
    again = await stage.resume(played.run_id)
    assert (again.finished.status, sent) == ("done", [])
    assert "do not fit" in again.of(ToolFinished)[0].output.content


async def test_resuming_undecided_waits_again_for_the_same_question(stage: Stage) -> None:
    played = await stage.run("Greet.", SCRIPT, sending([]), approve="ask")
    again = await stage.resume(played.run_id)
    assert again.finished.status == "waiting"
    assert again.question.approval_id == played.question.approval_id
    assert len(await stage.runtime.pending_approvals()) == 1


async def test_each_call_is_a_question_of_its_own(stage: Stage) -> None:
    sent: list[str] = []
    script = [turn("", ("send", {"text": "a"}), ("send", {"text": "b"})), turn("Done.")]
    played = await stage.run("Greet.", script, sending(sent), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=True)
    second = await stage.resume(played.run_id)
    assert (second.finished.status, sent) == ("waiting", ["a"])
    await stage.runtime.decide(second.question.approval_id, approve=False)
    third = await stage.resume(played.run_id)
    assert (third.finished.status, sent) == ("done", ["a"])
    assert len(third.of(ModelFinished)) == 1


async def test_never_refuses_and_tells(stage: Stage) -> None:
    sent: list[str] = []
    played = await stage.run("Greet.", [SCRIPT[0], turn("No.", expect="only read")], sending(sent), approve="never")
    assert (played.finished.status, sent) == ("done", [])
    assert played.of(ApprovalRequested) == []


async def test_a_decision_stands(stage: Stage) -> None:
    played = await stage.run("Greet.", SCRIPT, sending([]), approve="ask")
    await stage.runtime.decide(played.question.approval_id, approve=True)
    await stage.runtime.decide(played.question.approval_id, approve=True)
    with pytest.raises(StorageError, match="already approved"):
        await stage.runtime.decide(played.question.approval_id, approve=False)
    decided = [e for e in await stage.runtime.run_events(played.run_id) if isinstance(e, ApprovalDecided)]
    assert len(decided) == 1

    await stage.resume(played.run_id)
    with pytest.raises(RunError, match="has ended"):
        await stage.runtime.decide(played.question.approval_id, approve=True)
    with pytest.raises(NotFoundError):
        await stage.runtime.decide("apr_nobody", approve=True)


async def test_what_cannot_be_previewed_is_not_asked(stage: Stage) -> None:
    def refuse(arguments: object, context: object) -> str:
        raise ToolError("There is no such file.")

    @tool(preview=refuse)
    def edit(text: str) -> str:
        """Edit."""
        return "edited"

    script = [turn("", ("edit", {"text": "x"})), turn("Oh.", expect="no such file")]
    played = await stage.run("Edit.", script, edit, approve="ask")
    assert played.finished.status == "done"
    assert played.of(ApprovalRequested) == []


async def test_a_run_that_waited_goes_on_as_a_branch_when_the_thread_moved_on(stage: Stage) -> None:
    sent: list[str] = []
    waiting = await stage.run("Greet.", SCRIPT, sending(sent), approve="ask")
    tools, model = stage.tools, stage.model
    thread_id = waiting.finished.thread_id
    await stage.run("Something else.", [turn("Sure.")], thread_id=thread_id)
    moved_on = await stage.history(thread_id)

    stage.tools, stage.model = tools, model
    await stage.runtime.decide(waiting.question.approval_id, approve=True)
    ended = await stage.resume(waiting.run_id)
    assert (ended.finished.status, sent) == ("done", ["hi"])
    assert await stage.history(thread_id) == moved_on
    shown = {(m.role, m.content) for m in await stage.runtime.run_messages(waiting.run_id)}
    assert ("tool", "sent hi") in shown
    assert ("assistant", "Done.") in shown


async def test_a_thread_that_moved_on_past_an_open_call_shows_the_model_a_result(stage: Stage) -> None:
    waiting = await stage.run("Greet.", SCRIPT, sending([]), approve="ask")
    await stage.run("Something else.", [turn("Sure.")], thread_id=waiting.finished.thread_id)
    roles = [m.role for m in stage.model.requests[0].messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]
