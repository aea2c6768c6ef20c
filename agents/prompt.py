"""The system prompt, in one place: instructions, how to use tools, and what the workspace holds.

It is the beginning of every request, so it must not change from round to round: no clock, no counters. What it says
about the workspace is read once per run.
"""

from __future__ import annotations

from collections.abc import Sequence

from openhearth.agents.spec import AgentSpec
from openhearth.types import ToolSpec

DEFAULT_INSTRUCTIONS = "You are a careful assistant that gets things done."

_TOOLS = (
    "Use the tools to find out what you do not know; never guess what a file holds or what a computation gives."
    " When a tool reports an error, read it, correct the call, and try again."
    " When you have what you need, answer in plain words and name the figures that were asked for."
)

_CODE = (
    "Write {languages} as a fenced code block marked with the language; it runs and you get back what it prints."
    " Write a whole program each time."
)

_LANGUAGE_NAMES = {"python": "Python", "sh": "shell commands", "sql": "SQL"}


def system_prompt(spec: AgentSpec, tools: Sequence[ToolSpec], workspace: str) -> str:
    """`workspace` describes the files, or is empty."""
    parts = [spec.instructions.strip() or DEFAULT_INSTRUCTIONS]
    if tools:
        parts.append(_TOOLS)
    languages = [_LANGUAGE_NAMES.get(tool.language, tool.language) for tool in tools if tool.language]
    if languages:
        parts.append(_CODE.format(languages=" or ".join(languages)))
    if tools and workspace:
        parts.append(f"The workspace holds:\n{workspace}")
    return "\n\n".join(parts)


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
