"""What an SDK run gives back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Generic

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeVar

from openhearth import errors
from openhearth.errors import ApprovalRequiredError, CancelledError, HearthError, InDoubtError, ModelError, RunError
from openhearth.events import ApprovalRequested, RunFinished
from openhearth.types import ErrorInfo, Message, RunStatus, Usage

OutputT = TypeVar("OutputT", bound=BaseModel, default=BaseModel)

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RunResult(Generic[OutputT]):
    """The end of a run, or where it waits.

    `output` is the answer. `parsed` is the answer as the agent's `output_type`. `messages` are those of this run.
    `questions` are what a person must decide when `status` is `waiting` or `in_doubt`. `usage`, `steps` (model
    rounds) and `tool_calls` count the whole run.
    """

    output: str
    status: RunStatus
    run_id: str
    thread_id: str
    messages: tuple[Message, ...] = ()
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    tool_calls: int = 0
    duration_s: float = 0.0
    tokens_per_second: float = 0.0
    error: ErrorInfo | None = None
    parsed: OutputT | None = None
    questions: tuple[ApprovalRequested, ...] = ()

    def raise_for_status(self) -> RunResult[OutputT]:
        """This result when the run is done; else the error that says what is the matter."""
        if self.status == "done":
            return self
        if self.questions:
            wanted = ", ".join(f"{each.call.name} ({each.approval_id})" for each in self.questions)
            kind = InDoubtError if self.status == "in_doubt" else ApprovalRequiredError
            raise kind(
                f"{self.run_id} waits for a decision about {wanted}.",
                hint="Call agent.decide(approval_id, approve=True) and agent.resume(run_id), or use approve='auto'.",
            )
        if self.error is None:
            kind_of_end = CancelledError if self.status == "cancelled" else RunError
            raise kind_of_end(f"{self.run_id} ended as {self.status}.")
        raise _as_exception(self.error)


def make_result(
    finished: RunFinished,
    messages: tuple[Message, ...],
    questions: tuple[ApprovalRequested, ...],
    output_type: type[OutputT] | None,
) -> RunResult[OutputT]:
    """An answer that does not fit `output_type` makes the result a failed one; its text is kept in `output`."""
    status, error, parsed = finished.status, finished.error, None
    if output_type is not None and status == "done":
        try:
            parsed = output_type.model_validate_json(_unfenced(finished.output))
        except ValidationError as mismatch:
            status, error = "failed", _misfit(output_type, mismatch)
    return RunResult(
        output=finished.output,
        status=status,
        run_id=finished.run_id,
        thread_id=finished.thread_id,
        messages=messages,
        usage=finished.usage,
        steps=finished.steps,
        tool_calls=finished.tool_calls,
        duration_s=finished.duration_s,
        tokens_per_second=finished.tokens_per_second,
        error=error,
        parsed=parsed,
        questions=questions,
    )


def _unfenced(text: str) -> str:
    """A server that cannot be held to a schema likes to fence its JSON."""
    fenced = _FENCED.fullmatch(text)
    return fenced.group(1) if fenced else text


def _misfit(output_type: type[BaseModel], mismatch: ValidationError) -> ErrorInfo:
    problems = "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}" for problem in mismatch.errors()
    )
    return ErrorInfo(
        code=ModelError.code,
        title=ModelError.title,
        message=f"The answer is no {output_type.__name__}: {problems}",
        hint="result.output has the text. Raise max_reply_tokens if it was cut, or simplify the type.",
    )


def _as_exception(info: ErrorInfo) -> HearthError:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HearthError)]
    kind = next((kind for kind in kinds if kind.code == info.code), RunError)
    return kind(info.message, hint=info.hint)
