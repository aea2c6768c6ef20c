"""act: one tool call. Judge it, note the intent, run it, and stage the outcome together with the checkpoint."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from openhearth.agents import budget, prompt
from openhearth.agents.execution import Execution
from openhearth.agents.repetition import remember
from openhearth.agents.scope import OutOfTime
from openhearth.agents.state import LoopState
from openhearth.agents.verdict import Answer, Ask, Record, Run, judge, look_up
from openhearth.errors import CancelledError, HearthError, SandboxUnavailableError, ToolError
from openhearth.events import ApprovalRequested, Event, Notice, StepStarted, ToolFinished, ToolStarted
from openhearth.storage import approvals, ledger, messages, runs, steps
from openhearth.storage.ids import new_id
from openhearth.storage.store import Session
from openhearth.types import Message, ToolAnnotations, ToolCall, ToolOutput

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    output: ToolOutput
    duration_s: float = 0.0


async def act(state: LoopState, runtime: Runtime[Execution]) -> LoopState:
    run = runtime.context
    started = run.enter(state)
    call, record = await run.journal.read(lambda session: _find(session, run, state))
    verdict = judge(call, record, run.tools, run.spec, run.spent.calls)
    ready = await _ask(run, verdict) if isinstance(verdict, Ask) else verdict
    outcome = (
        await _execute(run, ready, state["step"] + 1, started) if isinstance(ready, Run) else Outcome(ready.output)
    )
    return _conclude(run, state, ready, outcome, started)


def _find(session: Session, run: Execution, state: LoopState) -> tuple[ToolCall, Record]:
    reply = messages.message(session, state["reply"])
    call = reply.tool_calls[state["next_call"]]
    return call, look_up(session, run.run_id, call.id)


async def _ask(run: Execution, ask: Ask) -> Answer:
    """Put the question to a person and leave the graph. Returns only when there is nothing to ask."""
    try:
        preview = await run.scope.guard(ask.tool.preview(ask.call.arguments, run.tool_context(ask.call)))
    except ToolError as error:
        if not ask.in_doubt:
            # What cannot even be previewed would fail: the model hears that at once.
            return Answer(ask.call, ToolOutput(content=str(error), ok=False))
        preview = ""

    def request(session: Session) -> str:
        return approvals.request(session, run.run_id, ask.call, preview, ask.in_doubt).id

    def asked(approval_id: str) -> ApprovalRequested:
        return ApprovalRequested(
            **run.ids, approval_id=approval_id, call=ask.call, preview=preview, in_doubt=ask.in_doubt
        )

    approval_id = await run.journal.commit(request, asked)
    # Resuming repeats this node, which then finds the decision; so this never returns.
    interrupt({"approval_id": approval_id, "in_doubt": ask.in_doubt})
    raise AssertionError("an interrupt was resumed with a value")


async def _execute(run: Execution, ready: Run, step: int, started: float) -> Outcome:
    """Note the intent, then run the tool. What it raises is an outcome too, unless the run itself must end."""
    call, tool, limits = ready.call, ready.tool, run.spec.limits
    context = run.tool_context(call)

    def intend(session: Session) -> None:
        steps.start(session, run.run_id, step, "act")
        ledger.intend(session, run.run_id, call, step, context.idempotency_key, tool.spec.annotations)

    time_left = budget.time_left_s(limits, run.spent, time.monotonic() - started)
    await run.journal.commit(intend, StepStarted(**run.ids, step=step, node="act"), ToolStarted(**run.ids, call=call))
    begun = time.monotonic()
    try:
        output = await run.scope.guard(tool.call(call.arguments, context), timeout_s=time_left)
    except OutOfTime:
        raise budget.out_of_time(limits) from None
    except (SandboxUnavailableError, CancelledError):
        raise
    except HearthError as error:
        output = ToolOutput(content=str(error), ok=False)
    except Exception as error:
        _log.warning("The tool %s failed.", call.name, exc_info=True)
        output = ToolOutput(content=f"{type(error).__name__}: {error}", ok=False)
    return Outcome(output, time.monotonic() - begun)


def _conclude(run: Execution, state: LoopState, ready: Run | Answer, done: Outcome, started: float) -> LoopState:
    """Stage the outcome, the message that tells the model, and the events; return the state after this call."""
    step, call = state["step"] + 1, ready.call
    recent, times_before = remember(state["recent"], call, done.output)
    message_id = new_id("msg")
    append = run.message(_message(ready, done.output, times_before), state["head"], message_id)
    spent = run.spent.with_call(time.monotonic() - started)
    run.spent = spent

    def write(session: Session) -> None:
        if isinstance(ready, Answer):
            _record_answer(session, run, ready, step)
        else:
            ledger.settle(session, run.run_id, call.id, done.output, done.duration_s)
        append(session)
        steps.finish(session, run.run_id, step)
        runs.update(session, run.run_id, tool_calls=spent.calls, duration_s=spent.work_s)

    answered: list[Event] = [StepStarted(**run.ids, step=step, node="act"), ToolStarted(**run.ids, call=call)]
    finished = ToolFinished(**run.ids, call=call, output=done.output, duration_s=done.duration_s)
    notices = [Notice(**run.ids, text=f"{call.name} was called again with the same result.")] if times_before else []
    run.journal.stage(write, *(answered if isinstance(ready, Answer) else []), finished, *notices)
    return {
        "head": message_id,
        "next_call": state["next_call"] + 1,
        "step": step,
        "withhold": state["withhold"] or (prompt.REPEATS if times_before > 1 else ""),
        "recent": recent,
        "repeated": times_before > 0,
        "failed": isinstance(ready, Run) and not done.output.ok,
        "spent": spent.model_dump(mode="json"),
    }


def _record_answer(session: Session, run: Execution, answer: Answer, step: int) -> None:
    """A call that was not executed is in the ledger all the same."""
    steps.start(session, run.run_id, step, "act")
    if answer.settled:
        return
    if answer.note:
        ledger.resolve(session, run.run_id, answer.call.id, answer.output, note=answer.note)
        return
    key = run.tool_context(answer.call).idempotency_key
    ledger.intend(session, run.run_id, answer.call, step, key, ToolAnnotations())
    ledger.settle(session, run.run_id, answer.call.id, answer.output, 0.0)


def _message(ready: Run | Answer, output: ToolOutput, times_before: int) -> Message:
    parts = [output.content]
    if isinstance(ready, Run) and ready.edited:
        parts.insert(0, prompt.EDITED_CALL.format(arguments=json.dumps(ready.call.arguments, ensure_ascii=False)))
    if times_before == 1:
        parts.append(prompt.REPEATED_CALL)
    return Message(role="tool", content="\n\n".join(parts), tool_call_id=ready.call.id, name=ready.call.name)
