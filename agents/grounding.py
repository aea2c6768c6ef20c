"""Figures of an answer must come from somewhere: the task, a tool's result, or what was said before.

A small model that is shown a table likes to answer from its first rows, or to invent. Whoever owns the loop can tell:
a number that stands nowhere in the conversation was not computed. Rounding is allowed, so is turning a share into a
percentage.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from openhearth.agents.prompt import is_from_runtime
from openhearth.types import Message

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_LIST_MARK = re.compile(r"^\s*(?:\d+[.)]|#+)\s", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:[,'\u2019\u202f\u00a0 ]\d{3})+(?!\d)|\d+)(?:\.\d+)?(?![\w])")
_SEPARATOR = re.compile(r"[,'\u2019\u202f\u00a0 ]")
_SMALL = 10
"""Whole numbers below this are words rather than figures ("the 3 largest"), once anything has been computed."""


def ungrounded(answer: str, path: Sequence[Message]) -> list[str]:
    """The figures of `answer` that no message of `path` holds, as they are written.

    Before the first tool result every figure counts, afterwards small whole numbers do not.
    """
    computed = any(message.role == "tool" for message in path)
    known = sorted(value for message in path for value in _values(message))
    found = []
    for written in _written(_LIST_MARK.sub(" ", _CODE.sub(" ", answer))):
        plain = _SEPARATOR.sub("", written)
        trivial = computed and "." not in plain and float(plain) < _SMALL
        if not trivial and not _is_known(plain, known) and written not in found:
            found.append(written)
    return found


def _values(message: Message) -> Iterable[float]:
    """What the model wrote, and what the runtime quoted of it, is no source."""
    quoted = message.role == "assistant" or is_from_runtime(message)
    return () if quoted else map(_value, _written(message.content))


def _written(text: str) -> list[str]:
    return [match.group() for match in _NUMBER.finditer(text)]


def _value(written: str) -> float:
    return float(_SEPARATOR.sub("", written))


def _is_known(plain: str, known: Sequence[float]) -> bool:
    """Whether a known value, or a hundred times one, rounds to this figure."""
    value = float(plain)
    half = 0.5 * 10.0 ** -len(plain.partition(".")[2]) * (1 + 1e-9) + value * 1e-12
    return any(_holds_between(known, (value - half) / scale, (value + half) / scale) for scale in (1.0, 100.0))


def _holds_between(known: Sequence[float], low: float, high: float) -> bool:
    at = bisect_left(known, low)
    return at < len(known) and known[at] <= high
