"""Reads a reply while it streams in: text goes out at once, calls are held until they are whole.

One parser serves every backend. Its result depends on the text alone, never on how it was cut into pieces: each
decision waits until no continuation could change it. `Text`, `Call.source` and `Syntax`, in order, add up to what
was read, character by character.

A call is one of
  - JSON after the family's marker (`<tool_call>`), closed by its counterpart or, leniently, by its last bracket;
  - a JSON object, or an array of them, that begins like a call (`openhearth.models.chat.calls`), bare or as the
    first thing in a fenced block;
  - a fenced block in the language of a tool that takes that language: the block is the call, and the reply ends.

Everything else is text, other code blocks and other JSON included.
"""

from __future__ import annotations

from collections.abc import Iterable

from openhearth.models.chat.events import ParseEvent, Region, Text
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.states import InBlock, InText, State
from openhearth.models.chat.stream import Stream, Vocabulary
from openhearth.types import ToolSpec


class StreamParser:
    """`feed` it text, then `finish`. Without tools everything is text."""

    def __init__(self, tools: Iterable[ToolSpec] = (), *, tool_format: ToolFormat = HERMES) -> None:
        tools = tuple(tools)
        self._active = bool(tools)
        self._stream = Stream(Vocabulary(tools, tool_format))
        self._state: State = InText()

    @property
    def ended(self) -> bool:
        """A call was made that ends the reply; what is fed from now on is ignored."""
        return self._stream.ended

    @property
    def in_call(self) -> bool:
        """A call is being written, or its markup has not ended."""
        return not isinstance(self._state, InText | InBlock)

    @property
    def calls(self) -> int:
        """Complete calls so far."""
        return self._stream.calls

    @property
    def region(self) -> Region | None:
        """The call in JSON that is being written, or that may be."""
        return self._state.region(self._stream)

    @property
    def unread(self) -> str:
        """What is held back, or came after the end."""
        return self._stream.buffer

    def feed(self, text: str) -> list[ParseEvent]:
        if not self._active:
            return [Text(text)] if text else []
        self._stream.buffer += text
        return self._run()

    def finish(self, *, truncated: bool = False) -> list[ParseEvent]:
        """No more text comes. With `truncated` an incomplete call becomes text; otherwise it is mended if it can be."""
        self._stream.final = True
        self._stream.truncated = truncated
        return self._run()

    def _run(self) -> list[ParseEvent]:
        while not self._stream.ended and (following := self._state.read(self._stream)) is not None:
            self._state = following
        events, self._stream.events = self._stream.events, []
        return events
