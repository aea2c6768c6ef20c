"""Source code, diffs and tool arguments as styled `Content`: untrusted text goes in, never markup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from pygments.token import Token
from textual.content import Content, Span
from textual.highlight import HighlightTheme, TokenType, highlight

from openhearth.tui.text import clean

LANGUAGES: Mapping[str, str] = {"python": "python", "shell": "bash", "sql": "sql"}
"""The tools whose argument is source code, and Pygments' name of its language."""

_SOURCE_NAMES = ("code", "command", "query", "script", "source")


class HearthHighlight(HighlightTheme):
    """Syntax colours from the theme's variables, so that they follow a change of theme."""

    STYLES: Mapping[TokenType, str] = {  # type: ignore[assignment]
        Token.Comment: "$text-muted italic",
        Token.Error: "$error",
        Token.Generic.Strong: "bold",
        Token.Generic.Emph: "italic",
        Token.Generic.Error: "$error",
        Token.Generic.Heading: "$accent bold",
        Token.Generic.Subheading: "$accent",
        Token.Generic.Inserted: "$success",
        Token.Generic.Deleted: "$error",
        Token.Keyword: "$primary",
        Token.Keyword.Constant: "$warning",
        Token.Keyword.Type: "$secondary",
        Token.Literal.Number: "$warning",
        Token.Literal.String: "$success",
        Token.Literal.String.Doc: "$success italic",
        Token.Literal.String.Escape: "$warning",
        Token.Name.Builtin: "$secondary",
        Token.Name.Class: "bold",
        Token.Name.Decorator: "$accent",
        Token.Name.Exception: "$error",
        Token.Name.Function: "bold",
        Token.Name.Tag: "$primary",
        Token.Name.Attribute: "$secondary",
        Token.Operator.Word: "$primary",
    }


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's arguments for showing: the source it runs, if it runs one, and the others as short lines."""

    source: str
    language: str
    others: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        """One line that stands for the whole."""
        if self.source:
            return next((line.strip() for line in self.source.splitlines() if line.strip()), "")
        return "  ".join(f"{name} {' '.join(value.split())}" for name, value in self.others)


def source(text: str, language: str) -> Content:
    """`text` with syntax colours; an unknown language is plain."""
    content = highlight(clean(text), language=language or "text", theme=HearthHighlight)
    # Textual paints what has no colour of its own in "$text", black or white; here it keeps the widget's colour.
    return Content(content.plain, spans=[span for span in content.spans if span.style != "$text"])


def diff(text: str) -> Content:
    """A unified diff; added and removed lines keep their sign, so that colour is not all that tells them apart."""
    lines = clean(text).rstrip("\n").split("\n")
    spans: list[Span] = []
    at = 0
    for line in lines:
        if style := _diff_style(line):
            spans.append(Span(at, at + len(line), style))
        at += len(line) + 1
    return Content("\n".join(lines), spans=spans)


def is_diff(text: str) -> bool:
    """Whether a preview is a unified diff."""
    lines = text.split("\n", 3)
    return len(lines) > 1 and lines[0].startswith("--- ") and lines[1].startswith("+++ ")


def diff_body(text: str) -> str:
    """A unified diff without the two lines that name the file."""
    return text.split("\n", 2)[2] if is_diff(text) and text.count("\n") > 1 else text


def arguments(tool: str, values: Mapping[str, JsonValue]) -> Arguments:
    """Sort a call's arguments for showing."""
    language = LANGUAGES.get(tool, "")
    key = next((n for n in _SOURCE_NAMES if isinstance(values.get(n), str)), "") if language else ""
    others = tuple((clean(name), clean(_plain(value))) for name, value in values.items() if name != key)
    return Arguments(source=str(values[key]).strip("\n") if key else "", language=language, others=others)


def draft(tool: str, text: str, lines: int) -> Content:
    """The last `lines` lines of a call while it is written: JSON, or the source itself."""
    language = "json" if text.lstrip().startswith("{") else LANGUAGES.get(tool, "text")
    parts = text.split("\n")
    shown = source("\n".join(parts[-lines:]), language)
    return shown if len(parts) <= lines else Content.assemble(("…\n", "$text-muted"), shown)


def _plain(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _diff_style(line: str) -> str:
    if line.startswith(("+++ ", "--- ")):
        return "$text-muted bold"
    if line.startswith("+"):
        return "$success on $success 12%"
    if line.startswith("-"):
        return "$error on $error 12%"
    return "$secondary" if line.startswith("@@") else ""
