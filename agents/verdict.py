"""What is to be done with one tool call: run it, answer without running it, or wait for a person.

The ledger and the approvals decide, so the same question gets the same answer in any process, however often a node
is repeated:

    outcome in the ledger         → Answer: it is not executed again
    intent without an outcome     → in doubt. Idempotent or read-only: Run again under the same idempotency key.
                                    Otherwise Ask; a person's yes is Run, a no is Answer "outcome unknown"
    neither                       → limits, arguments and the approval policy decide
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openhearth.agents.approval import rule
from openhearth.agents.prompt import NOT_RUN, UNKNOWN_OUTCOME
from openhearth.agents.spec import AgentSpec
from openhearth.agents.tooling import RunTools
from openhearth.errors import InvalidArgumentsError, UnknownToolError
from openhearth.storage import approvals, ledger
from openhearth.storage.store import Session
from openhearth.storage.tables import ApprovalRow, LedgerRow
from openhearth.tools.base import Tool
from openhearth.types import ToolAnnotations, ToolCall, ToolOutput


@dataclass(frozen=True, slots=True)
class Run:
    """Execute `call`, whose arguments are valid. `edited`: a person changed them."""

    call: ToolCall
    tool: Tool
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Give the model `output`. `settled`: the ledger holds it. `note`: who resolved a call in doubt, and why."""

    call: ToolCall
    output: ToolOutput
    settled: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A person must decide. `tool` makes the preview."""

    call: ToolCall
    tool: Tool
    in_doubt: bool = False


Verdict = Run | Answer | Ask


@dataclass(frozen=True, slots=True)
class Record:
    """What the database knows of one call."""

    entry: LedgerRow | None
    questions: Sequence[ApprovalRow]


def look_up(session: Session, run_id: str, call_id: str) -> Record:
    return Record(ledger.get(session, run_id, call_id), approvals.of_call(session, run_id, call_id))


def judge(call: ToolCall, record: Record, tools: RunTools, spec: AgentSpec, calls_spent: int) -> Verdict:
    """`calls_spent` are those before this one."""
    if record.entry is not None:
        done = ledger.output(record.entry)
        if done is not None:
            return Answer(call, done, settled=True)
        return _in_doubt(call, record.entry, record.questions, tools)
    if calls_spent >= spec.limits.max_tool_calls:
        return _refused(call, f"the limit of {spec.limits.max_tool_calls} tool calls is reached.")
    return _first_time(call, record.questions, tools, spec)


def _first_time(call: ToolCall, questions: Sequence[ApprovalRow], tools: RunTools, spec: AgentSpec) -> Verdict:
    try:
        tool = tools.all.get(call.name)
        ready = _checked(call, call.arguments, tool)
    except (UnknownToolError, InvalidArgumentsError) as error:
        return Answer(call, ToolOutput(content=str(error), ok=False))
    ruling = rule(spec.approve, tool.spec.annotations, own=call.name in tools.own)
    if ruling == "run":
        return Run(ready, tool)
    if ruling == "refuse":
        return _refused(call, f"{call.name} is not read-only, and this run may only read.")
    if not questions or questions[-1].status == "pending":
        return Ask(ready, tool)
    question = questions[-1]
    if question.status == "denied":
        return _refused(call, "a person denied this call." + (f" Reason: {question.reason}" if question.reason else ""))
    return _approved(call, ready, question, tool)


def _in_doubt(call: ToolCall, entry: LedgerRow, questions: Sequence[ApprovalRow], tools: RunTools) -> Verdict:
    # The ledger's arguments are the ones that ran: a person may have changed the model's.
    call = call.model_copy(update={"arguments": entry.arguments})
    annotations = ToolAnnotations.model_validate(entry.annotations)
    tool = tools.all.get(call.name)
    if annotations.idempotent or annotations.read_only:
        return Run(call, tool)
    answered = [question for question in questions if question.in_doubt and question.status != "pending"]
    if len(answered) < entry.attempts:
        # Each attempt that ended without an outcome is a question of its own.
        return Ask(call, tool, in_doubt=True)
    question = answered[-1]
    if question.status == "denied":
        reason = f" Reason: {question.reason}" if question.reason else ""
        output = ToolOutput(content=UNKNOWN_OUTCOME + reason, ok=False)
        return Answer(call, output, note=f"{question.by or 'a person'}: {question.reason or 'not to be repeated'}")
    return _approved(call, call, question, tool)


def _approved(call: ToolCall, ready: ToolCall, question: ApprovalRow, tool: Tool) -> Verdict:
    if question.arguments is None:
        return Run(ready, tool)
    try:
        return Run(_checked(call, question.arguments, tool), tool, edited=True)
    except InvalidArgumentsError as error:
        return _refused(call, f"the arguments that a person put in do not fit. {error}")


def _checked(call: ToolCall, arguments: Mapping[str, Any], tool: Tool) -> ToolCall:
    return call.model_copy(update={"arguments": tool.validate(arguments)})


def _refused(call: ToolCall, reason: str) -> Answer:
    return Answer(call, ToolOutput(content=NOT_RUN.format(reason=reason), ok=False))
