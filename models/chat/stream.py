"""The text that the streaming parser has not decided on yet, and the events it has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from openhearth.models.chat.calls import language_tools
from openhearth.models.chat.events import Call, CallText, ParseEvent, Syntax, Text
from openhearth.models.chat.formats import ToolFormat
from openhearth.types import ToolSpec

_MARKS = r" {0,3}(?:`{3}|~{3})"


class Vocabulary:
    """What can open a call in a reply: fixed for one parser."""

    def __init__(self, tools: tuple[ToolSpec, ...], tool_format: ToolFormat) -> None:
        self.names = frozenset(tool.name for tool in tools)
        self.languages = language_tools(tools)
        self.opener = tool_format.opener
        self.closer = tool_format.closer
        self.named = tool_format.named
        ways = [re.escape(self.opener)] if self.opener else []
        self.openings = re.compile("|".join([*ways, r"[\[{]", rf"(?:(?<=\n)|\A){_MARKS}"]))
        """Every place that needs a closer look. At the buffer's start, `Stream.line_start` has the last word."""


@dataclass(slots=True)
class Stream:
    """States take from the front of `buffer`, each time as an event."""

    vocabulary: Vocabulary
    buffer: str = ""
    final: bool = False
    """No more text will come."""
    truncated: bool = False
    """The reply was cut off: what is incomplete was not meant to end here."""
    ended: bool = False
    """A call was made after which nothing may follow."""
    line_start: bool = True
    """The buffer begins a line."""
    previous: str = ""
    """The character before the buffer."""
    calls: int = 0
    after_call: bool = False
    silent: bool = True
    """Nothing has been said yet, and no call made."""
    events: list[ParseEvent] = field(default_factory=list)

    def take_text(self, count: int) -> None:
        if text := self._take(count):
            self.events.append(Text(text))
            self.after_call = self.silent = False

    def take_syntax(self, count: int) -> None:
        if text := self._take(count):
            self.events.append(Syntax(text))
            self.line_start = True

    def take_calls(self, count: int, calls: list[tuple[str, dict[str, Any]]]) -> None:
        source = self._take(count)
        for name, arguments in calls:
            self.events.append(Call(self.calls, name, arguments, source))
            self.calls += 1
            source = ""
        self.line_start = self.after_call = True
        self.silent = False

    def show(self, name: str, text: str, *, ahead: int = 0) -> None:
        """Let the call's source be seen while it grows; `ahead` counts calls of the same source before it."""
        if text:
            self.events.append(CallText(self.calls + ahead, name, text))

    def _take(self, count: int) -> str:
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        if taken:
            self.previous = taken[-1]
            self.line_start = taken[-1] == "\n"
        return taken
