"""The system prompt, in one place: instructions, how to use tools, and what the workspace holds.

It is the beginning of every request, so it must not change from round to round: no clock, no counters. What it says
about the workspace is read once per run.
"""

from __future__ import annotations

from collections.abc import Sequence

from openhearth.agents.spec import AgentSpec
from openhearth.types import Message, ToolSpec

DEFAULT_INSTRUCTIONS = "You are a careful assistant that works on the files of a workspace."

_TOOLS = (
    "Use the tools to find out what you do not know; never guess what a file holds or what a computation gives."
    " When a tool reports an error, read it, correct the call, and try again."
    " When you have what you need, answer in one or two plain sentences, with the exact figures from the results."
)

_DATA = "Data files in the workspace:"

_RUNTIME = "openhearth"


def system_prompt(spec: AgentSpec, tools: Sequence[ToolSpec], data: str) -> str:
    """`data` describes the workspace's data files, or is empty."""
    parts = [spec.instructions.strip() or DEFAULT_INSTRUCTIONS]
    if tools:
        parts.append(_TOOLS)
    if tools and data:
        parts.append(f"{_DATA}\n{data}")
    return "\n\n".join(parts)


def shows_data(path: Sequence[Message]) -> bool:
    """Whether the conversation's latest system prompt describes data files."""
    latest = next((message for message in reversed(path) if message.role == "system"), None)
    return latest is not None and f"\n\n{_DATA}\n" in latest.content


def from_runtime(text: str) -> Message:
    """What the model is told by the runtime rather than by the user; such messages carry a name."""
    return Message(role="user", name=_RUNTIME, content=text)


def is_from_runtime(message: Message) -> bool:
    return message.role == "user" and message.name == _RUNTIME


def data_reminder(tools: Sequence[ToolSpec]) -> str:
    """Stands below the user's messages where data is described: a small model follows what it read last."""
    return (
        f"(To answer from the data files, reply with {_blocks(tools)}, and nothing else: begin with the block,"
        " without a plan before it. Sort the result so that the answer is its first row.)"
    )


def uncomputed(figures: Sequence[str], tools: Sequence[ToolSpec]) -> str:
    """Sends an answer back whose figures stand in no result."""
    named = ", ".join(figures)
    return f"[Nothing has computed {named}. Reply with {_blocks(tools)} that computes it from the data files.]"


def uncorrected(tools: Sequence[ToolSpec]) -> str:
    """Sends an answer back that was given after a failed computation."""
    return f"[The last call failed, so nothing was computed. Correct the error: reply with {_blocks(tools)}.]"


def _blocks(tools: Sequence[ToolSpec]) -> str:
    languages = {tool.language for tool in tools}
    if {"sql", "python"} <= languages:
        return "one ```sql block, or one ```python block where SQL is not enough"
    only = next((language for language in ("sql", "python", "sh") if language in languages), "python")
    return f"one ```{only} block"


def last_round(reason: str) -> str:
    """Added to the last message of a round without tools; `reason` is a clause such as "the limit is reached"."""
    return f"[No more tools can be used: {reason}. Answer now, with what you know.]"


JSON_ANSWER = "[Give the final answer now, as one JSON value that fits the required schema, and nothing else.]"

CUT_CALL = "[Your reply was cut off after {tokens} tokens, before the call was complete. Do it in smaller steps.]"

REPEATED_CALL = (
    "[You have made exactly this call before, with exactly this result. Use the result, or do something else.]"
)

REPEATS = "the same call keeps giving the same result"

EDITED_CALL = "[A person changed the arguments of this call to {arguments}]"

NOT_RUN = "Not run: {reason}"

STOPPED_CALL = "The call was stopped before it ended; it may have taken effect in part. {reason}"

UNKNOWN_OUTCOME = (
    "The outcome of this call is unknown: it was interrupted, and may or may not have taken effect."
    " It was not repeated. Check before you rely on it."
)
