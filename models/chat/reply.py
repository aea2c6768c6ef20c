"""Makes a reply's pieces and its final message of streamed text: what the backends have in common."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from openhearth.models.chat.events import Call, CallText, ParseEvent, Text
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.parser import StreamParser
from openhearth.models.chat.stop import StopFilter
from openhearth.types import CallPiece, FinishReason, Message, Piece, TextPiece, ToolCall, ToolSpec


def new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:12]}"


class ReplyBuilder:
    """Feed it text and it yields pieces; `message` is what they add up to."""

    def __init__(
        self,
        tools: Iterable[ToolSpec] = (),
        *,
        stops: Iterable[str] = (),
        tool_format: ToolFormat = HERMES,
        call_id: Callable[[int], str] = lambda _: new_call_id(),
    ) -> None:
        """`call_id` names the reply's calls, which are counted from 0."""
        self._parser = StreamParser(tools, tool_format=tool_format)
        self._stop = StopFilter(tuple(stops))
        self._call_id = call_id
        self._text: list[str] = []
        self._calls: list[ToolCall] = []

    @property
    def ended(self) -> bool:
        """Nothing that follows belongs to the reply."""
        return self._stop.hit or self._parser.ended

    def feed(self, text: str, tokens: int) -> Iterator[Piece]:
        """Pieces that `text` completes; `tokens` counts the reply's tokens so far."""
        return self._pieces(self._parser.feed(text), tokens)

    def finish(self, tokens: int, *, truncated: bool = False) -> Iterator[Piece]:
        """The reply has ended, by itself or (`truncated`) because it was cut off."""
        if not self._stop.hit:
            yield from self._pieces(self._parser.finish(truncated=truncated), tokens)
            yield from self.show(self._stop.finish(), tokens)

    def add_call(self, name: str, arguments: dict[str, Any]) -> None:
        """A call that came beside the text."""
        self._calls.append(ToolCall(id=self._call_id(len(self._calls)), name=name, arguments=arguments))

    def call(self, name: str, arguments: dict[str, Any], tokens: int) -> Iterator[Piece]:
        """`add_call`, shown in one piece."""
        yield CallPiece(len(self._calls), name, json.dumps(arguments, ensure_ascii=False), tokens)
        self.add_call(name, arguments)

    @property
    def message(self) -> Message:
        return Message(role="assistant", content="".join(self._text), tool_calls=tuple(self._calls))

    def finish_reason(self, reason: FinishReason) -> FinishReason:
        """`reason` as the engine or the server gave it, in view of what was said."""
        if self._calls and reason != "length":
            return "tool_calls"
        return "stop" if reason == "tool_calls" or self._stop.hit else reason

    def _pieces(self, events: Iterable[ParseEvent], tokens: int) -> Iterator[Piece]:
        for event in events:
            if self._stop.hit:
                return
            if isinstance(event, Text):
                yield from self.show(self._stop.feed(event.text), tokens)
            elif isinstance(event, CallText):
                yield CallPiece(event.index, event.name, event.text, tokens)
            elif isinstance(event, Call):
                self.add_call(event.name, event.arguments)

    def show(self, text: str, tokens: int) -> Iterator[Piece]:
        """Text that goes out as it is."""
        if text:
            self._text.append(text)
            yield TextPiece(text, tokens)
