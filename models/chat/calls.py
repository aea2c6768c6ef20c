"""What counts as a tool call: how a JSON object must begin, what it must hold, and which fences run code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from openhearth.errors import ModelError
from openhearth.models.chat.lenient_json import UnreadableJsonError, loads_lenient
from openhearth.types import ModelRequest, ToolSpec

ARGUMENT_KEYS = ("arguments", "parameters")
JSON_FENCES = frozenset({"", "json", "jsonc", "json5", "xml", "tool_call", "tool_calls"})
"""Languages of fences whose content may be a call in JSON."""

_ALIASES = {
    "python": ("python", "py", "python3"),
    "sh": ("sh", "bash", "shell", "zsh", "console"),
    "sql": ("sql", "duckdb"),
}
_SURE_LETTERS = 3
_UNKNOWN_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}")
# Bounded, so that what is held back while a call may begin stays small.
_SPACE = re.compile(r"[ \t\r\n]{0,64}")


class Verdict(Enum):
    """Whether a text begins a call."""

    NO = "no"
    MORE = "more"
    """It still could; more text will tell."""
    LIKELY = "likely"
    """It names a tool so far: whoever can steer the model may now hold it to a call."""
    YES = "yes"


def is_code_tool(tool: ToolSpec) -> bool:
    """Whether a fenced block can say all that the tool must be told."""
    required = tool.parameters.get("required", [])
    return tool.language is not None and set(required) <= {tool.source_argument}


def offered_tools(request: ModelRequest) -> tuple[ToolSpec, ...]:
    """The tools that the reply may call. Raises ModelError when the choice is none of them."""
    choice = request.tool_choice
    if choice == "none":
        return ()
    if choice in ("auto", "required"):
        tools = request.tools
    else:
        tools = tuple(tool for tool in request.tools if tool.name == choice.removeprefix("tool:"))
    if choice != "auto" and not tools:
        raise ModelError(
            f"The request demands a call ({choice}) of a tool that it does not offer.",
            hint=f"It offers: {', '.join(tool.name for tool in request.tools) or 'none'}.",
        )
    return tools


def language_tools(tools: Iterable[ToolSpec]) -> dict[str, ToolSpec]:
    """Fence language, in lower case, to the tool that runs it; a tool's own language wins over another's alias."""
    exact: dict[str, ToolSpec] = {}
    aliases: dict[str, ToolSpec] = {}
    for tool in tools:
        if tool.language:
            exact.setdefault(tool.language.lower(), tool)
            for alias in _aliases(tool.language.lower()):
                aliases.setdefault(alias, tool)
    return aliases | exact


def _aliases(language: str) -> Sequence[str]:
    return next((names for names in _ALIASES.values() if language in names), ())


def begins_call(text: str, start: int, names: Iterable[str], *, first: bool = False) -> Verdict:
    """Judge the JSON object, or the array of objects, at `text[start]`.

    A call begins with its `name` and then `arguments` (or `parameters`), or the other way round. An object whose
    name is no tool's is a call too when arguments follow: the model meant to call, and should hear that it misnamed.
    With `first`, nothing was said before the object: then its `name` alone makes a call likely.
    """
    known = frozenset(names)
    position = start
    if text.startswith("[", position):
        position = _skip_space(text, position + 1)
        if position < len(text) and text[position] != "{":
            return Verdict.NO
    return _begins_object(text, position, known, first)


def _begins_object(text: str, position: int, names: frozenset[str], first: bool) -> Verdict:
    key, position = _key(text, position, "{", ("name", "arguments"))
    if isinstance(key, Verdict):
        return key
    if key == "arguments":
        return _expect(text, position, "{")
    opening = _expect(text, position, '"')
    if opening is not Verdict.YES:
        return opening
    position = _skip_space(text, position) + 1
    end = text.find('"', position)
    if end < 0:
        return _unfinished_name(text[position:], names, first)
    name = text[position:end]
    known = name in names
    if not known and not _UNKNOWN_NAME.fullmatch(name):
        return Verdict.NO
    end = _skip_space(text, end + 1)
    if known and text.startswith("}", end):
        return Verdict.YES
    key, position = _key(text, end, ",", ARGUMENT_KEYS)
    verdict = key if isinstance(key, Verdict) else _expect(text, position, "{" if not known else None)
    return Verdict.LIKELY if known and verdict is Verdict.MORE else verdict


def _unfinished_name(value: str, names: frozenset[str], first: bool) -> Verdict:
    near = [name for name in names if name.startswith(value)]
    if near:
        return Verdict.LIKELY if first or len(value) >= _SURE_LETTERS else Verdict.MORE
    return Verdict.MORE if _UNKNOWN_NAME.fullmatch(value) else Verdict.NO


def _key(text: str, position: int, opening: str, keys: Sequence[str]) -> tuple[str | Verdict, int]:
    """Read `opening`, one of `keys` in quotes, and a colon: the key and where its value begins, or a verdict."""
    verdict = _expect(text, position, opening)
    if verdict is not Verdict.YES:
        return verdict, position
    position = _skip_space(text, _skip_space(text, position) + 1)
    for key in keys:
        quoted = f'"{key}"'
        if text.startswith(quoted, position):
            position += len(quoted)
            return (key if (colon := _expect(text, position, ":")) is Verdict.YES else colon), _skip_space(
                text, position
            ) + 1
        if quoted.startswith(text[position:]):
            return Verdict.MORE, position
    return Verdict.NO, position


def _expect(text: str, position: int, char: str | None) -> Verdict:
    """YES when the next character that is not a space is `char` (None: any)."""
    position = _skip_space(text, position)
    if position >= len(text):
        return Verdict.MORE
    return Verdict.YES if char is None or text[position] == char else Verdict.NO


def _skip_space(text: str, position: int) -> int:
    matched = _SPACE.match(text, position)
    return matched.end() if matched else position


def read_calls(source: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls that a JSON text makes: one object, or an array of them. Empty when it is anything else."""
    try:
        value = loads_lenient(source)
    except UnreadableJsonError:
        return []
    calls = [_read_call(item) for item in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if None not in calls else []


def _read_call(value: Any) -> tuple[str, dict[str, Any]] | None:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]  # OpenAI's envelope
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    arguments: Any = next((value[key] for key in ARGUMENT_KEYS if key in value), {})
    return (value["name"], decoded) if (decoded := decode_arguments(arguments)) is not None else None


def decode_arguments(arguments: Any) -> dict[str, Any] | None:
    """Arguments as an object; OpenAI's servers, and models that imitate them, send them as a JSON string."""
    if isinstance(arguments, str):
        try:
            arguments = loads_lenient(arguments) if arguments.strip() else {}
        except UnreadableJsonError:
            return None
    if arguments is None:
        return {}
    return dict(arguments) if isinstance(arguments, Mapping) else None
