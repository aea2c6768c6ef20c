"""The grammars of calls and of structured output, as Lark text in llguidance's dialect.

After its marker a call is written exactly as the family's template writes it, so that nearly all of it is forced and
the history renders to the same tokens. Objects that the model began in its own way may be laid out freely.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openhearth.models.chat.calls import ARGUMENT_KEYS, is_code_tool
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.schema import MAX_STRING, bounded
from openhearth.types import ToolSpec

_HEAD = "%llguidance {}\n"
_SPACE = r"[ \t\r\n]{0,64}"
_EXACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
_FREE = {"whitespace_pattern": _SPACE, "lenient": True}

TokenId = Callable[[str], int | None]
"""The id of a text that is one added token, or None."""


def marked_call(tools: Sequence[ToolSpec], tool_format: ToolFormat, token_id: TokenId) -> str:
    """Calls between the format's markers, in the template's own layout."""
    return _HEAD + "start: marked\n" + _calls(tools, tool_format, token_id)


def free_call(
    tools: Sequence[ToolSpec], tool_format: ToolFormat | None = None, token_id: TokenId = lambda _: None
) -> str:
    """One call or an array of calls as the model likes to lay it out; with a format, between the format's markers."""
    start = "calls"
    if tool_format is not None:
        start = f"{_marker(tool_format.opener, token_id)} WS calls"
        if tool_format.closer:
            start += f" WS {_marker(tool_format.closer, token_id)}"
    return (
        f"{_HEAD}start: {start}\n"
        'calls: call | "[" WS call (WS "," WS call)* WS "]"\n'
        f"{_free_calls(tools)}WS: /{_SPACE}/\n"
    )


def unknown_call() -> str:
    """A call of a tool that does not exist: it cannot be forbidden any more, and must still be JSON."""
    anything = ToolSpec(name="x", description="", parameters={"type": "object"})
    name = f'/[^"\\\\\\x00-\\x1f]{{1,{MAX_STRING}}}/'
    return f"{_HEAD}start: call\n{_free_calls([anything], name=name)}WS: /{_SPACE}/\n"


def first_thing(
    tools: Sequence[ToolSpec], tool_format: ToolFormat, token_id: TokenId, *, output: Mapping[str, Any] | None = None
) -> str:
    """A reply that begins with a call of one of `tools` or, where `output` is a schema, is an instance of it.

    A tool that takes source code is called by its fenced block, of which this covers the first line.
    """
    ways = []
    rules = ""
    in_json = [tool for tool in tools if not is_code_tool(tool)]
    if in_json:
        ways.append("marked")
        rules += _calls(in_json, tool_format, token_id, marked=tool_format.marked)
    ways += [_text(f"```{tool.language}\n") for tool in tools if is_code_tool(tool)]
    if output is not None:
        ways.append("output")
        rules += f"output: {_json(output, _EXACT)}\n"
    return f"{_HEAD}start: {' | '.join(ways)}\n{rules}"


def instance(schema: Mapping[str, Any]) -> str:
    """One instance of `schema`."""
    return f"{_HEAD}start: output\noutput: {_json(schema, _EXACT)}\n"


def _calls(tools: Sequence[ToolSpec], tool_format: ToolFormat, token_id: TokenId, *, marked: bool = True) -> str:
    calls = 'call (", " call)*' if tool_format.array else "call"
    before, after = ("[", "]") if tool_format.array else ("", "")
    parts = [
        _marker(tool_format.opener, token_id) if marked else "",
        _text(tool_format.before + before),
        calls,
        _text(after + tool_format.after),
        _marker(tool_format.closer, token_id),
    ]
    rules = [
        f"marked: {' '.join(part for part in parts if part not in ('', _text('')))}\n",
        _choice("call", len(tools)),
    ]
    for number, tool in enumerate(tools):
        rules += _call(number, tool, tool_format, token_id)
    return "".join(rules)


def _call(number: int, tool: ToolSpec, tool_format: ToolFormat, token_id: TokenId) -> list[str]:
    name, arguments = json.dumps(tool.name), f"arguments_{number}"
    given = f"{arguments}: {_json(tool.parameters, _EXACT)}\n"
    if tool_format.named:
        return [f"call_{number}: {_text(tool.name)} {_marker(tool_format.named, token_id)} {arguments}\n", given]
    key = json.dumps(tool_format.arguments_key)
    usual = _text(f'{{"name": {name}, {key}: '), _text("}")
    turned = _text(f"{{{key}: "), _text(f', "name": {name}' + "}")
    ways = " | ".join(f"{before} {arguments} {after}" for before, after in (usual, turned))
    return [f"call_{number}: {ways}\n", given]


def _free_calls(tools: Sequence[ToolSpec], *, name: str | None = None) -> str:
    keys = " | ".join(_text(json.dumps(key)) for key in ARGUMENT_KEYS)
    rules = [_choice("call", len(tools)), f"key: {keys}\n"]
    for number, tool in enumerate(tools):
        named = f'"\\"name\\"" WS ":" WS "\\"" {name or _text(tool.name)} "\\""'
        given = f'key WS ":" WS arguments_{number}'
        rules.append(
            f'call_{number}: "{{" WS {named} WS "," WS {given} WS "}}" | "{{" WS {given} WS "," WS {named} WS "}}"\n'
        )
        rules.append(f"arguments_{number}: {_json(tool.parameters, _FREE)}\n")
    return "".join(rules)


def _marker(text: str, token_id: TokenId) -> str:
    """llguidance keeps added tokens apart from the text that they look like. Nothing for no text."""
    if not text:
        return ""
    found = token_id(text)
    return _text(text) if found is None else f"<[{found}]>"


def _choice(rule: str, count: int) -> str:
    return f"{rule}: {' | '.join(f'{rule}_{number}' for number in range(count))}\n"


def _json(schema: Mapping[str, Any], layout: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**bounded(schema), 'x-guidance': layout})}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
