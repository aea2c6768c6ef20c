"""Which rule of a router holds for a request, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from openhearth.models.backends.router_file import Rule, When
from openhearth.models.backends.scripted import count_text_tokens
from openhearth.types import ModelRequest

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n.*?^[ \t]*```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?<![\w.])[\w-][\w./-]*\.[A-Za-z][A-Za-z0-9]{0,4}\b")


def task(request: ModelRequest) -> tuple[int, str]:
    """The place of the last message that a person wrote, and its text; -1 where there is none.

    A user message with a name was written by the runtime: it is no new task.
    """
    for place in range(len(request.messages) - 1, -1, -1):
        message = request.messages[place]
        if message.role == "user" and not message.name:
            return place, message.content
    return -1, ""


def fired(rules: Sequence[Rule], request: ModelRequest) -> tuple[Rule, str, str] | None:
    """The first rule of which every condition holds, what it is called, and the reason in words."""
    for number, rule in enumerate(rules, 1):
        reasons = [*_reasons(rule.when, request)]
        if None not in reasons:
            called = rule.name or f"rule {number}"
            return rule, called, " and ".join(reason for reason in reasons if reason)
    return None


def _reasons(when: When, request: ModelRequest) -> Iterator[str | None]:
    """For each condition the reason why it holds; None where it does not."""
    _, text = task(request)
    if when.matches is not None:
        found = re.search(when.matches, text)
        yield f"the message has {_short(found[0])}" if found else None
    if when.words:
        word = next((word for word in when.words if _has_word(text, word)), None)
        yield f"the message has the word {_short(word)}" if word else None
    if when.code is not None:
        yield _is("the message holds code", bool(_FENCE.search(text)), when.code)
    if when.names_file is not None:
        yield _is("the message names a file", bool(_FILE.search(text)), when.names_file)
    if when.longer_than is not None:
        yield _longer("the message", count_text_tokens(text), when.longer_than)
    if when.prompt_longer_than is not None:
        tokens = sum(count_text_tokens(message.content) for message in request.messages)
        yield _longer("the conversation", tokens, when.prompt_longer_than)
    if when.tools is not None:
        yield _is("tools are on offer", bool(request.tools) and request.tool_choice != "none", when.tools)
    if when.tool_choice:
        yield f"tool_choice is {request.tool_choice}" if request.tool_choice in when.tool_choice else None
    if when.structured is not None:
        yield _is("the answer must fit a schema", request.output_schema is not None, when.structured)


def _is(what: str, true: bool, wanted: bool) -> str | None:
    if true != wanted:
        return None
    return what if true else f"it is not so that {what}"


def _longer(what: str, tokens: int, limit: int) -> str | None:
    return f"{what} has {tokens:,} tokens, more than {limit:,}" if tokens > limit else None


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
