"""What the model is shown: the conversation in order, complete, and small enough. Nothing is ever cut silently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openhearth.errors import ContextOverflowError
from openhearth.models.base import Model
from openhearth.types import Message, ModelRequest, ToolCall

MIN_REPLY_TOKENS = 32
"""Room that a prompt must leave for the reply."""

_INTERRUPTED = "No result: the run was interrupted before this call had an outcome."


def conversation(path: Sequence[Message], *, reminder: str = "") -> tuple[Message, ...]:
    """The latest system message, then everything else; a call without a result gets one that says so.

    `reminder` stands below each of the user's messages: the same words every time, so that turns keep the cache.
    """
    if reminder:
        path = [_reminded(message, reminder) for message in path]
    system = [message for message in path if message.role == "system"][-1:]
    return (*system, *_with_results(message for message in path if message.role != "system"))


def with_notice(messages: Sequence[Message], notice: str) -> tuple[Message, ...]:
    """`notice` added to the last message, so that no turn is made up. It is shown once and not kept."""
    last = messages[-1]
    return (*messages[:-1], last.model_copy(update={"content": f"{last.content}\n\n{notice}".lstrip()}))


def unanswered(path: Sequence[Message]) -> list[ToolCall]:
    """Calls of the last assistant message that no tool message answers."""
    answered: set[str | None] = set()
    for message in reversed(path):
        if message.role == "tool":
            answered.add(message.tool_call_id)
        elif message.role == "assistant":
            return [call for call in message.tool_calls if call.id not in answered]
        else:
            break
    return []


async def count_prompt(model: Model, request: ModelRequest) -> int | None:
    """Exact tokens of the prompt, tools included; None where only a server could tell.

    Raises ContextOverflowError, which says what takes the room, when no useful reply fits after it.
    """
    total = await model.count_tokens(request)
    limit = model.info.context_length
    if total is None or total + max(1, min(MIN_REPLY_TOKENS, limit // 8)) <= limit:
        return total
    parts = await _by_segment(model, request, total)
    listed = ", ".join(f"{name} {tokens:,}" for name, tokens in parts if tokens > 0)
    raise ContextOverflowError(
        f"The prompt has {total:,} tokens, but the context of {model.info.reference} holds {limit:,}: {listed}.",
        hint="Start a new thread, raise model.context, offer fewer tools, or have the agent print less.",
    )


async def _by_segment(model: Model, request: ModelRequest, total: int) -> list[tuple[str, int]]:
    """Tokens of each part, found by leaving it out."""

    async def without(**changes: object) -> int:
        return total - (await model.count_tokens(request.model_copy(update=changes)) or 0)

    def emptied(roles: set[str]) -> tuple[Message, ...]:
        return tuple(m.model_copy(update={"content": ""}) if m.role in roles else m for m in request.messages)

    return [
        ("system prompt", await without(messages=emptied({"system"}))),
        ("tools", await without(tools=())),
        ("conversation", await without(messages=emptied({"user", "assistant"}))),
        ("tool results", await without(messages=emptied({"tool"}))),
    ]


def _reminded(message: Message, reminder: str) -> Message:
    if message.role != "user" or message.name:
        return message
    return message.model_copy(update={"content": f"{message.content}\n\n{reminder}"})


def _with_results(messages: Iterable[Message]) -> Iterable[Message]:
    waiting: dict[str, ToolCall] = {}
    for message in messages:
        if message.role == "tool":
            waiting.pop(message.tool_call_id or "", None)
        else:
            yield from _missing(waiting)
            waiting = {call.id: call for call in message.tool_calls}
        yield message
    yield from _missing(waiting)


def _missing(waiting: dict[str, ToolCall]) -> list[Message]:
    return [Message(role="tool", content=_INTERRUPTED, tool_call_id=c.id, name=c.name) for c in waiting.values()]
