"""What happened, as typed values: the one stream that the CLI, the TUI, the SDK and the server all read.

A run's stream begins with `RunStarted` (or `RunResumed`) and ends with exactly one `RunFinished`, whose status may
also be `waiting` or `in_doubt`. Deltas are not persisted; everything else is, under its `seq`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from openhearth.types import (
    ApprovalPolicy,
    ErrorInfo,
    Message,
    ModelInfo,
    Routing,
    RunStatus,
    Timings,
    ToolCall,
    ToolOutput,
    Usage,
    Value,
)


def _now() -> datetime:
    return datetime.now(UTC)


class BaseEvent(Value):
    """`seq` counts within the run, from 1; deltas carry the seq of the last persisted event."""

    run_id: str
    thread_id: str
    seq: int = 0
    time: datetime = Field(default_factory=_now)


class RunStarted(BaseEvent):
    type: Literal["run_started"] = "run_started"
    task: str
    model: ModelInfo
    approve: ApprovalPolicy


class RunResumed(BaseEvent):
    type: Literal["run_resumed"] = "run_resumed"
    model: ModelInfo


class StepStarted(BaseEvent):
    type: Literal["step_started"] = "step_started"
    step: int
    node: str


class TextDelta(BaseEvent):
    """New text of the assistant's message. `tokens` counts the reply's tokens so far."""

    type: Literal["text_delta"] = "text_delta"
    text: str
    tokens: int = 0


class CallDelta(BaseEvent):
    """A fragment of a tool call's source while the model writes it."""

    type: Literal["call_delta"] = "call_delta"
    index: int
    name: str
    text: str
    tokens: int = 0


class ModelFinished(BaseEvent):
    """A reply is complete. `context_used` and `context_length` are in tokens."""

    type: Literal["model_finished"] = "model_finished"
    message: Message
    usage: Usage
    timings: Timings
    context_used: int
    context_length: int


class ModelRouted(BaseEvent):
    """A router chose the model that answers this turn, or had to take another one."""

    type: Literal["model_routed"] = "model_routed"
    routing: Routing


class ToolStarted(BaseEvent):
    type: Literal["tool_started"] = "tool_started"
    call: ToolCall


class ToolFinished(BaseEvent):
    type: Literal["tool_finished"] = "tool_finished"
    call: ToolCall
    output: ToolOutput
    duration_s: float


class ApprovalRequested(BaseEvent):
    """A call waits for a person. `preview` is a diff or the source to be run. `in_doubt`: its outcome is unknown."""

    type: Literal["approval_requested"] = "approval_requested"
    approval_id: str
    call: ToolCall
    preview: str = ""
    in_doubt: bool = False


class ApprovalDecided(BaseEvent):
    type: Literal["approval_decided"] = "approval_decided"
    approval_id: str
    approved: bool
    reason: str = ""
    by: str = ""


class Notice(BaseEvent):
    """Worth telling, changes nothing: a repeated call was stopped, a reply was cut, a budget nears its end."""

    type: Literal["notice"] = "notice"
    text: str


class RunFinished(BaseEvent):
    type: Literal["run_finished"] = "run_finished"
    status: RunStatus
    output: str = ""
    usage: Usage = Usage()
    steps: int = 0
    tool_calls: int = 0
    duration_s: float = 0.0
    tokens_per_second: float = 0.0
    error: ErrorInfo | None = None


Event = (
    RunStarted
    | RunResumed
    | StepStarted
    | TextDelta
    | CallDelta
    | ModelRouted
    | ModelFinished
    | ToolStarted
    | ToolFinished
    | ApprovalRequested
    | ApprovalDecided
    | Notice
    | RunFinished
)

EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
"""Parses one JSON line of `--json`, or one row of the events table, back into its event."""
