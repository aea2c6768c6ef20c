"""How a run ends: one transaction that leaves the thread whole, tells what happened and gives the lease back."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from openhearth.agents import prompt
from openhearth.agents.context import unanswered
from openhearth.agents.execution import Execution
from openhearth.errors import HearthError
from openhearth.events import Event, RunFinished, ToolFinished
from openhearth.storage import approvals, events, ledger, messages, runs
from openhearth.storage.ids import new_id
from openhearth.storage.store import Session
from openhearth.types import ErrorInfo, Message, RunStatus, ToolCall, ToolOutput

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """`final` False: the database failed, so what the run did last is not kept. The run is to be resumed, as after a
    crash, and only this process's stream ends."""

    status: RunStatus
    error: ErrorInfo | None = None
    final: bool = True


def error_info(error: BaseException) -> ErrorInfo:
    """An error as data. What nobody expected gets the code `internal`."""
    if isinstance(error, HearthError):
        return ErrorInfo(code=error.code, title=error.title, message=error.message, hint=error.hint)
    return ErrorInfo(
        code="internal",
        title="Internal error",
        message=f"{type(error).__name__}: {error}",
        hint="This is a bug; hearth.log in the state folder has the traceback.",
    )


async def finish(run: Execution, ending: Ending) -> None:
    """Write the end of the run and publish RunFinished. The reader gets it even when nothing can be written."""
    try:
        await run.journal.commit_last(lambda session: _write(session, run, ending) if ending.final else [])
    except Exception as error:
        _log.warning("The end of %s could not be kept.", run.run_id, exc_info=True)
        ending = Ending("failed", ending.error or error_info(error), final=False)
    if not ending.final:
        run.journal.publish_unkept(_finished(run, ending, run.draft.text))


def _write(session: Session, run: Execution, ending: Ending) -> list[Event]:
    path = messages.path(session, run.head)
    happened: list[Event] = []
    output = run.draft.text
    if ending.status == "done":
        output = next((m.content for m in reversed(path) if m.role == "assistant"), "")
    elif ending.status in ("failed", "cancelled"):
        if run.draft.text:
            _append(session, run, Message(role="assistant", content=run.draft.text))
        for call in unanswered(path):
            happened += _close_call(session, run, call, ending)
        for question in approvals.pending(session, run.run_id):
            approvals.decide(session, question.id, approved=False, reason="The run ended first.", by="openhearth")
    finished = _finished(run, ending, output)
    runs.update(
        session,
        run.run_id,
        status=ending.status,
        output=output,
        error=ending.error,
        usage=finished.usage,
        steps=finished.steps,
        tool_calls=finished.tool_calls,
        duration_s=finished.duration_s,
    )
    return events.extend(session, [*happened, finished])


def _close_call(session: Session, run: Execution, call: ToolCall, ending: Ending) -> list[Event]:
    """Give a call that the run leaves behind a result, so that the thread can go on."""
    why = ending.error.message if ending.error else "The run ended."
    entry = ledger.get(session, run.run_id, call.id)
    if entry is None:
        output = ToolOutput(content=prompt.NOT_RUN.format(reason=why), ok=False)
    else:
        output = ledger.output(entry) or ToolOutput(content=prompt.STOPPED_CALL.format(reason=why), ok=False)
    _append(session, run, Message(role="tool", content=output.content, tool_call_id=call.id, name=call.name))
    if entry is None or entry.state != "intended":
        return []
    ledger.settle(session, run.run_id, call.id, output, 0.0)
    return [ToolFinished(**run.ids, call=call, output=output, duration_s=0.0)]


def _append(session: Session, run: Execution, message: Message) -> None:
    run.message(message, run.head, new_id("msg"))(session)


def _finished(run: Execution, ending: Ending, output: str) -> RunFinished:
    spent = run.spent
    return RunFinished(
        **run.ids,
        status=ending.status,
        output=output,
        usage=spent.usage + run.draft.usage,
        steps=spent.rounds,
        tool_calls=spent.calls,
        duration_s=spent.work_s,
        tokens_per_second=spent.tokens_per_second,
        error=ending.error,
    )
