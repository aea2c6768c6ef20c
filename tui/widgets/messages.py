"""The small parts of a turn: what the person said, notices, errors, and the line that closes it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from openhearth.events import RunFinished
from openhearth.tui.text import clean, duration, plural, routed, speed
from openhearth.types import ErrorInfo, Routing


class UserMessage(Static):
    """What the person said."""

    def __init__(self, text: str) -> None:
        self.plain = clean(text)
        super().__init__(Content(self.plain))


class NoticeLine(Static):
    """Something worth telling that changes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(Content.assemble(("note  ", "$warning"), Content(clean(text)).stylize("$text-muted")))


class RouteLine(Static):
    """Which of its models a router chose, and why."""

    def __init__(self, routing: Routing) -> None:
        super().__init__(Content(routed(routing)).stylize("$text-muted"))


class ErrorMessage(Static):
    """An error: what happened, and what to do next."""

    def __init__(self, error: ErrorInfo) -> None:
        parts = [Content(clean(error.title)).stylize("bold $error"), Content("\n"), Content(clean(error.message))]
        if error.hint:
            parts += [Content("\n"), Content(clean(error.hint)).stylize("$text-muted")]
        super().__init__(Content.assemble(*parts))


class TurnEnd(Static):
    """How the run went, in one quiet line."""

    def __init__(self, event: RunFinished) -> None:
        parts = [_WORDS.get(event.status, event.status)]
        if event.tool_calls:
            parts.append(plural(event.tool_calls, "tool call"))
        if event.tokens_per_second:
            parts.append(speed(event.tokens_per_second))
        if event.duration_s:
            parts.append(duration(event.duration_s))
        super().__init__(Content("  ·  ".join(parts)), classes=f"-{event.status}")


_WORDS = {"in_doubt": "in doubt", "waiting": "waiting for you"}
