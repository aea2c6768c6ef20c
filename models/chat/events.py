"""What the streaming parser makes of a reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Text:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class CallText:
    """A piece of a call's source while it is written; `index` counts the reply's calls from 0."""

    index: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A complete call, read from `source`. Of several calls in one array, the first carries the source of all."""

    index: int
    name: str
    arguments: dict[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """Markup around calls, which nobody is shown."""

    text: str


ParseEvent = Text | CallText | Call | Syntax


@dataclass(frozen=True, slots=True)
class Region:
    """Where a call in JSON is being written, for whoever steers the model.

    `source` is the text since its first character: the marker's for kind `marker` (perhaps a part of it), else the
    bracket's. `sure` is False while the text could still turn out to be no call.
    """

    kind: Literal["marker", "json"]
    source: str
    sure: bool
