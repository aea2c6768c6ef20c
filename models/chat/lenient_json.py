"""JSON as models really write it: finds where a value ends in a stream, and mends the usual mistakes.

Mended: raw line breaks in strings, triple-quoted strings, invalid escapes, trailing commas, closing brackets that
are missing at the end. A string that is cut off is never closed: half an argument must not be acted upon.
"""

from __future__ import annotations

import json
from typing import Any

_ESCAPABLE = frozenset('"\\/bfnrtu')
_CLOSING = {"{": "}", "[": "]"}


class UnreadableJsonError(ValueError):
    """Not JSON, not even with good will."""


class JsonScanner:
    """Follows one JSON object or array, piece by piece, until its last bracket."""

    def __init__(self) -> None:
        self.done = False
        self._stack: list[str] = []
        self._quotes = 0  # quotes of the string we are in: 0 outside, 1, or 3
        self._run = 0  # quotes seen in a row that may yet be a triple one
        self._escaped = False

    @property
    def in_string(self) -> bool:
        return self._quotes > 0

    @property
    def missing(self) -> str:
        """The brackets that would close what is open."""
        return "".join(_CLOSING[bracket] for bracket in reversed(self._stack))

    def feed(self, text: str) -> int:
        """Read `text`; return how much of it belongs to the value: all of it, while `done` stays False."""
        for position, char in enumerate(text):
            self._step(char)
            if self.done:
                return position + 1
        return len(text)

    def _step(self, char: str) -> None:
        if self._quotes == 3:
            self._run = self._run + 1 if char == '"' and not self._escaped else 0
            self._escaped = char == "\\" and not self._escaped
            if self._run == 3:
                self._quotes = self._run = 0
        elif self._quotes == 1:
            if char == '"' and not self._escaped:
                self._quotes = 0
                # An empty string so far; a third quote would make it the start of a triple-quoted one.
                self._run = 2 if self._run == 1 else 0
            else:
                self._run = 0
            self._escaped = char == "\\" and not self._escaped
        elif char == '"':
            self._quotes, self._run = (3, 0) if self._run == 2 else (1, 1)
            self._escaped = False
        else:
            self._run = 0
            if char in _CLOSING:
                self._stack.append(char)
            elif char in "]}" and self._stack:
                self._stack.pop()
                self.done = not self._stack


def loads_lenient(source: str) -> Any:
    """The value that `source` means. Raises UnreadableJsonError when even mending does not help."""
    try:
        return _strict(source)
    except ValueError:
        pass
    try:
        return _strict(_mend(source))
    except ValueError as error:
        raise UnreadableJsonError(str(error)) from error


def _strict(source: str) -> Any:
    try:
        return _without_lone_surrogates(json.loads(source, strict=False, parse_constant=_refuse))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _without_lone_surrogates(value: Any) -> Any:
    """Escapes can spell half a surrogate pair, which no file and no database could store."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_lone_surrogates(k): _without_lone_surrogates(v) for k, v in value.items()}
    return value


def _mend(source: str) -> str:
    out: list[str] = []
    brackets = JsonScanner()
    position = 0
    while position < len(source):
        char = source[position]
        if char == '"':
            end, text = _read_string(source, position)
            out.append(text)
            position = end
            continue
        if char in "]}" and (comma := _trailing_comma(out)) is not None:
            del out[comma]
        out.append(char)
        brackets.feed(char)
        position += 1
    return "".join(out) + brackets.missing


def _trailing_comma(out: list[str]) -> int | None:
    for index in range(len(out) - 1, -1, -1):
        if out[index] == ",":
            return index
        if not out[index].isspace():
            return None
    return None


def _read_string(source: str, start: int) -> tuple[int, str]:
    """The end of the string that opens at `start`, and the string as valid JSON."""
    quote = '"""' if source.startswith('"""', start) else '"'
    position = start + len(quote)
    out: list[str] = []
    while not source.startswith(quote, position):
        if position >= len(source):
            raise ValueError("a string is cut off")
        char = source[position]
        if char == "\\" and position + 1 < len(source):
            following = source[position + 1]
            out.append(char + following if following in _ESCAPABLE else "\\\\" + following)
            position += 2
        else:
            out.append('\\"' if char == '"' else char)
            position += 1
    return position + len(quote), f'"{"".join(out)}"'
