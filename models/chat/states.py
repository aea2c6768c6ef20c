"""The states of the streaming parser. Each reads from the front of the stream and says which state follows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from openhearth.models.chat.calls import JSON_FENCES, Verdict, begins_call, decode_arguments, read_calls
from openhearth.models.chat.events import Region
from openhearth.models.chat.fences import Fence, open_fence
from openhearth.models.chat.lenient_json import JsonScanner
from openhearth.models.chat.stream import Stream
from openhearth.types import ToolSpec

Kind = Literal["marker", "fence", "bare"]

_KNOWN_NAME = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]+)"')
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[\w.-]{1,64}")
_FENCE_BEGUN = re.compile(r"(?:(?<=\n)|\A) {0,3}(?:`{1,2}|~{1,2})\Z")
_SURE_MARKER = 6  # characters of a marker after which nothing else can be meant


@runtime_checkable
class State(Protocol):
    def read(self, stream: Stream) -> State | None:
        """The state that follows, or None when more text is needed (at the end: when all is read)."""
        ...

    def region(self, stream: Stream) -> Region | None:
        """The call in JSON that is being written, or that may be."""
        ...


class _Plain:
    def region(self, stream: Stream) -> Region | None:
        return None


class InText(_Plain):
    """Text for the user, up to the next thing that opens a call or a block."""

    def __init__(self) -> None:
        self._json_at = -1
        """Where in the buffer a call in JSON likely begins."""

    def read(self, stream: Stream) -> State | None:
        self._json_at = -1
        position = 0
        while (matched := stream.vocabulary.openings.search(stream.buffer, position)) is not None:
            start = matched.start()
            following = self._judge(stream, start, matched.group())
            if isinstance(following, State):
                return following
            if following is Verdict.MORE and not stream.final:
                self._release(stream, start)
                return None
            position = start + (1 if matched.group() in "[{" else len(matched.group()))
        if stream.final:
            (stream.take_syntax if stream.after_call and stream.buffer.isspace() else stream.take_text)(
                len(stream.buffer)
            )
        else:
            self._release(stream, len(stream.buffer) - self._unfinished(stream))
        return None

    def region(self, stream: Stream) -> Region | None:
        if self._json_at >= 0:
            return Region("json", stream.buffer[self._json_at :], sure=False)
        begun = stream.buffer.lstrip()
        sure = len(begun) >= _SURE_MARKER and stream.vocabulary.opener.startswith(begun)
        return Region("marker", begun, sure=False) if sure else None

    def _judge(self, stream: Stream, start: int, opening: str) -> State | Verdict:
        """What opens at `start`: the state to go on with, or MORE, or NO."""
        if opening == stream.vocabulary.opener:
            return after_marker(stream, self._release(stream, start) + len(opening))
        if opening in "[{":
            before = stream.buffer[start - 1] if start else stream.previous
            return Verdict.NO if before == "`" else self._judge_json(stream, start, start, None)
        if start == 0 and not stream.line_start:
            return Verdict.NO
        fence = open_fence(stream.buffer, start)
        if not isinstance(fence, Fence):
            return Verdict.MORE if fence else Verdict.NO
        tool = stream.vocabulary.languages.get(fence.language)
        if tool is not None or fence.language in JSON_FENCES:
            # Models also put a call in JSON into a block of code.
            verdict = self._judge_fenced_json(stream, start, fence)
            if verdict is not Verdict.NO and not (verdict is Verdict.MORE and stream.final):
                return verdict
        if tool is not None:
            return InCode(fence, tool, self._release(stream, start) + len(fence.header))
        stream.take_text(start + len(fence.header))
        return InBlock(fence)

    def _judge_fenced_json(self, stream: Stream, start: int, fence: Fence) -> State | Verdict:
        body = _skip_space(stream.buffer, start + len(fence.header))
        rest = stream.buffer[body:]
        opener = stream.vocabulary.opener
        if opener and rest.startswith(opener):
            return InJson("marker", self._release(stream, start) + body - start + len(opener), fence)
        if opener.startswith(rest):
            return Verdict.MORE
        return self._judge_json(stream, start, body, fence) if rest[0] in "[{" else Verdict.NO

    def _judge_json(self, stream: Stream, start: int, body: int, fence: Fence | None) -> State | Verdict:
        first = stream.silent and not stream.buffer[:start].strip()
        verdict = begins_call(stream.buffer, body, stream.vocabulary.names, first=first)
        if verdict is Verdict.YES:
            return InJson("fence" if fence else "bare", self._release(stream, start) + body - start, fence)
        if verdict is Verdict.LIKELY:
            self._json_at = body
        return Verdict.NO if verdict is Verdict.NO else Verdict.MORE

    def _release(self, stream: Stream, end: int) -> int:
        """Let the text before `end` go except its last spaces, which are markup if a call follows: their number."""
        text = stream.buffer[:end].rstrip()
        stream.take_text(len(text))
        self._json_at -= len(text)
        return end - len(text)

    def _unfinished(self, stream: Stream) -> int:
        """How many characters at the buffer's end could yet become an opening."""
        buffer, opener = stream.buffer, stream.vocabulary.opener
        for length in range(min(len(opener) - 1, len(buffer)), 0, -1):
            if opener.startswith(buffer[-length:]):
                return length
        begun = _FENCE_BEGUN.search(buffer)
        return len(begun.group()) if begun and (begun.start() or stream.line_start) else 0


@dataclass
class InBlock(_Plain):
    """A fenced block that is no call: text up to its end, whatever it holds. Its header has been taken."""

    fence: Fence
    mid_line: bool = False

    def read(self, stream: Stream) -> State | None:
        position = 0
        while position < len(stream.buffer):
            end = stream.buffer.find("\n", position)
            line = stream.buffer[position : end if end >= 0 else len(stream.buffer)]
            closes = not self.mid_line and self.fence.is_closed_by(line)
            if end < 0:
                waits = not self.mid_line and self.fence.could_be_closed_by(line)
                if not waits or stream.final:
                    position += len(line)
                    self.mid_line = True
                break
            if closes:
                stream.take_text(position + len(line))
                return InText()
            position, self.mid_line = end + 1, False
        stream.take_text(position)
        return None


class InCode(_Plain):
    """A fenced block that is a call. Its content begins at `offset` in the buffer, after its header."""

    def __init__(self, fence: Fence, tool: ToolSpec, offset: int) -> None:
        self._fence = fence
        self._tool = tool
        self._offset = self._line = self._shown = offset

    def read(self, stream: Stream) -> State | None:
        while (end := stream.buffer.find("\n", self._line)) >= 0:
            if self._fence.is_closed_by(stream.buffer[self._line : end]):
                return self._close(stream, end)
            self._line = end + 1
        last = stream.buffer[self._line :]
        if stream.final:
            if self._fence.is_closed_by(last):
                return self._close(stream, len(stream.buffer))
            self._line = len(stream.buffer)
            return self._close(stream, self._line, cut=stream.truncated)
        self._show(stream, self._line if self._fence.could_be_closed_by(last) else len(stream.buffer))
        return None

    def _code(self, stream: Stream) -> str:
        return self._fence.outdent(stream.buffer[self._offset : self._line].removesuffix("\n"))

    def _close(self, stream: Stream, end: int, *, cut: bool = False) -> State | None:
        """The content ends where the current line begins, and the block at `end`."""
        code = self._code(stream)
        if cut or not code.strip():
            stream.take_text(end)
            return InText()
        self._show(stream, self._line)
        content, closing = self._line - self._offset, end - self._line
        stream.take_syntax(self._offset)
        stream.take_calls(content, [(self._tool.name, {self._tool.source_argument: code})])
        stream.take_syntax(closing)
        stream.ended = True
        return None

    def _show(self, stream: Stream, end: int) -> None:
        if end > self._shown:
            stream.show(self._tool.name, stream.buffer[self._shown : end])
            self._shown = end


class InJson(_Plain):
    """A call in JSON. `offset` is where the JSON begins in the buffer, after a marker or a fence's header."""

    def __init__(self, kind: Kind, offset: int, fence: Fence | None = None) -> None:
        self._kind = kind
        self._offset = offset
        self._fence = fence
        self._scanner = JsonScanner()
        self._scanned = self._shown = offset
        self._name = ""

    def read(self, stream: Stream) -> State | None:
        if self._kind == "marker" and not self._scanned > self._offset:
            self._offset = self._scanned = self._shown = _skip_space(stream.buffer, self._offset)
            if self._offset == len(stream.buffer):
                return self._give_up(stream, self._offset) if stream.final else None
            if stream.buffer[self._offset] not in "[{":
                return self._give_up(stream, self._offset)
        end = self._find_end(stream)
        if end is None:
            self._show(stream, len(stream.buffer))
            return self._finish(stream) if stream.final else None
        self._show(stream, end)
        return self._take(stream, end) or self._give_up(stream, end)

    def region(self, stream: Stream) -> Region | None:
        if self._kind == "marker":
            return Region("marker", stream.vocabulary.opener + stream.buffer[self._offset :], sure=True)
        return Region("json", stream.buffer[self._offset :], sure=True)

    def _read_calls(self, source: str) -> list[tuple[str, dict[str, Any]]]:
        return read_calls(source)

    def _find_end(self, stream: Stream) -> int | None:
        """Where the JSON ends: at its last bracket or, with brackets missing, before what closes it."""
        closer = {"marker": stream.vocabulary.closer, "fence": self._fence.marks if self._fence else ""}.get(self._kind)
        while True:
            # The closer may have been scanned in part; none of its characters means anything to the scanner.
            at = stream.buffer.find(closer, max(self._offset, self._scanned - len(closer) + 1)) if closer else -1
            until = at + len(closer) if closer and at >= 0 else len(stream.buffer)
            self._scanned += self._scanner.feed(stream.buffer[self._scanned : until])
            if self._scanner.done:
                return self._scanned
            if at < 0:
                return None
            if not self._scanner.in_string:
                return at

    def _take(self, stream: Stream, end: int) -> State | None:
        calls = self._read_calls(stream.buffer[self._offset : end])
        if not calls:
            return None
        if len(calls) > 1 or not self._name:
            for ahead, (name, arguments) in enumerate(calls):
                whole = stream.buffer[self._offset : end]
                stream.show(name, whole if len(calls) == 1 else _as_json(name, arguments), ahead=ahead)
        source = end - self._offset
        stream.take_syntax(self._offset)
        stream.take_calls(source, calls)
        return AfterJson(self._kind, self._fence)

    def _finish(self, stream: Stream) -> State:
        """The reply is over and the JSON is not: mend it, unless it was cut off."""
        can_be_mended = not stream.truncated and not self._scanner.in_string
        if can_be_mended and (after := self._take(stream, len(stream.buffer))) is not None:
            return after
        # What stands inside a broken call is no call either.
        closer = stream.vocabulary.closer
        at = stream.buffer.find(closer, self._offset) if closer and self._kind == "marker" else -1
        return self._give_up(stream, at + len(closer) if at >= 0 else len(stream.buffer))

    def _give_up(self, stream: Stream, end: int) -> State:
        """It was no call; what follows is read as if it had not begun like one."""
        stream.take_text(end)
        return InBlock(self._fence, mid_line=True) if self._fence else InText()

    def _show(self, stream: Stream, end: int) -> None:
        if not self._name:
            named = _KNOWN_NAME.match(stream.buffer, self._offset)
            self._name = named.group(1) if named else ""
        if self._name:
            stream.show(self._name, stream.buffer[self._shown : end])
            self._shown = end


class InNamed(InJson):
    """A call whose name stands between its marker and its arguments. The name begins at `offset` in the buffer."""

    def __init__(self, offset: int, fence: Fence | None = None) -> None:
        super().__init__("marker", offset, fence)
        self._lead = ""

    def read(self, stream: Stream) -> State | None:
        if not self._lead:
            separator = stream.vocabulary.named
            start = _skip_space(stream.buffer, self._offset)
            end = _skip_name(stream.buffer, start)
            rest = stream.buffer[end:]
            if start == end or not rest.startswith(separator):
                if separator.startswith(rest) and not stream.final:
                    return None
                return InJson("marker", self._offset, self._fence)
            self._name = stream.buffer[start:end]
            self._lead = self._name + separator
            self._offset = self._scanned = self._shown = end + len(separator)
        return super().read(stream)

    def region(self, stream: Stream) -> Region | None:
        begun = stream.buffer[self._offset :]
        return Region("marker", stream.vocabulary.opener + self._lead + begun, sure=True)

    def _read_calls(self, source: str) -> list[tuple[str, dict[str, Any]]]:
        arguments = decode_arguments(source)
        return [] if arguments is None else [(self._name, arguments)]


def after_marker(stream: Stream, offset: int, fence: Fence | None = None) -> State:
    """The state behind the family's marker, which ends at `offset`."""
    return InNamed(offset, fence) if stream.vocabulary.named else InJson("marker", offset, fence)


@dataclass
class AfterJson(_Plain):
    """A call is complete: its closing markup, or the next call inside the same markup."""

    kind: Kind
    fence: Fence | None

    def read(self, stream: Stream) -> State | None:
        if self.kind == "bare":
            return InText()
        start = _skip_space(stream.buffer, 0)
        rest = stream.buffer[start:]
        if stream.final and not rest:
            stream.take_syntax(start)
            return InText()
        closer = stream.vocabulary.closer if self.kind == "marker" else self.fence.marks if self.fence else ""
        if closer and rest.startswith(closer):
            stream.take_syntax(start + len(closer))
            return AfterJson("fence", self.fence) if self.kind == "marker" and self.fence else InText()
        if closer.startswith(rest) and not stream.final:
            return None
        if rest.startswith(("[", "{", ",")):
            begins = _skip_space(stream.buffer, start + 1) if rest[0] == "," else start
            verdict = begins_call(stream.buffer, begins, stream.vocabulary.names)
            if verdict is Verdict.YES:
                return InJson(self.kind, begins, self.fence)
            if verdict is not Verdict.NO and not stream.final:
                return None
        opener = stream.vocabulary.opener
        if opener and rest.startswith(opener):
            return after_marker(stream, start + len(opener), self.fence)
        if opener.startswith(rest) and not stream.final:
            return None
        return InBlock(self.fence, mid_line=True) if self.fence else InText()


def _skip_space(text: str, position: int) -> int:
    matched = _SPACE.match(text, position)
    return matched.end() if matched else position


def _skip_name(text: str, position: int) -> int:
    matched = _NAME.match(text, position)
    return matched.end() if matched else position


def _as_json(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
