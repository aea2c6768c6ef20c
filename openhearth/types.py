"""The values that cross a border between parts: messages, tool calls, requests and replies.

Persisted and public values are frozen pydantic models; what flows once per token is a slotted dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
RunStatus = Literal["queued", "running", "waiting", "in_doubt", "done", "failed", "cancelled"]
ApprovalPolicy = Literal["ask", "auto", "never"]
ToolChoice = Literal["auto", "required", "none"] | Annotated[str, Field(pattern=r"^tool:.+")]
"""`tool:NAME` demands one tool by name."""

FINAL_STATUSES: frozenset[RunStatus] = frozenset({"done", "failed", "cancelled"})


class Value(BaseModel):
    """Base of the frozen values; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Value):
    """A call the model made. `id` is unique within its run."""

    id: str
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Message(Value):
    """One turn of a conversation. A `tool` message answers `tool_call_id`; `name` is then the tool's name."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class ToolAnnotations(Value):
    """What a call may do; the words and their meaning are MCP's. The defaults assume the worst."""

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    network: bool = False


class ToolSpec(Value):
    """A tool as the model sees it.

    `parameters` is a JSON Schema of type object. A tool that takes source code names its `language` (`python`,
    `sh`, `sql`): a fenced block in that language is then a call with the block as `source_argument`, verbatim.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
    description: str
    parameters: dict[str, Any]
    language: str | None = None
    source_argument: str = "code"
    annotations: ToolAnnotations = ToolAnnotations()


class Sampling(Value):
    """How tokens are chosen. Temperature 0 is greedy. `max_tokens` None means: to the end of the context."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=5)] = 1.0
    seed: int | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: tuple[str, ...] = ()


class Usage(Value):
    """Exact token counts. `cached_tokens` of the prompt were not prefilled again."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Timings(Value):
    """Seconds: from the request to the first token, and from the first token to the last."""

    first_token_s: float = 0.0
    decode_s: float = 0.0

    def tokens_per_second(self, completion_tokens: int) -> float:
        """Decode speed; the first token belongs to the prefill."""
        return (completion_tokens - 1) / self.decode_s if completion_tokens > 1 and self.decode_s > 0 else 0.0


class ModelInfo(Value):
    """What answers for a model reference. `context_length` is in tokens."""

    reference: str
    backend: Literal["local", "remote", "scripted", "replay", "router"]
    context_length: int
    device: str = ""
    precision: str = ""


class ModelRequest(Value):
    """All that a model needs for one reply.

    `time_limit_s` ends decoding with finish reason `length`.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    sampling: Sampling = Sampling()
    output_schema: dict[str, Any] | None = None
    time_limit_s: float | None = None


@dataclass(slots=True, frozen=True)
class TextPiece:
    """Text for the user. `tokens` counts the reply's tokens so far."""

    text: str
    tokens: int = 0


@dataclass(slots=True, frozen=True)
class CallPiece:
    """A fragment of the source of call number `index`, for showing a call while it is written."""

    index: int
    name: str
    text: str
    tokens: int = 0


class Routing(Value):
    """Which of its models a router sends a turn to, told before the first text of the turn.

    `reason` says why, in words. `rule` is the rule that decided; `scores` are the classifier's probabilities of each
    route where it was asked. `passed_over` tells of routes that would have come before and could not answer.
    """

    route: str
    model: str
    reason: str
    rule: str = ""
    scores: dict[str, float] = Field(default_factory=dict)
    passed_over: tuple[str, ...] = ()


class Reply(Value):
    """The last piece of every stream: the whole message, as it goes into the history."""

    message: Message
    usage: Usage = Usage()
    finish: FinishReason = "stop"
    timings: Timings = Timings()


Piece = TextPiece | CallPiece | Routing | Reply


class FileChange(Value):
    """What a tool did to one file of the workspace; `diff` is unified, empty for binary files."""

    path: str
    kind: Literal["added", "modified", "deleted"]
    diff: str = ""


class ToolOutput(Value):
    """What came back from a tool. `content` is what the model reads."""

    content: str
    ok: bool = True
    truncated: bool = False
    changes: tuple[FileChange, ...] = ()


class ErrorInfo(Value):
    """An error as data, for events, JSON and the database; see `openhearth.errors`."""

    code: str
    title: str
    message: str
    hint: str = ""
