"""How one model family writes tool calls as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from openhearth.models.chat.openai import tool_as_json
from openhearth.types import ToolCall, ToolSpec

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """The layout of calls, exactly as the family's own template writes them.

    A call is an object `{"name": …, <arguments_key>: …}`; with `array` the calls of a reply stand in one array. With
    `named`, a call is its name, that text, and the arguments. `opener` begins a call and nothing else in a reply does;
    "" where the family has no marker. `closer` ends it; "" where its last bracket does. `before` and `after` stand
    between the markers and what they enclose. A format whose calls usually come without their marker is not `marked`.

    The rest is for templates that know no tools: `offer` with `{tools}` in it is the part of a system message that
    offers them, listed one a line or, with `tools_in_array`, as one array; `result` with `{content}` in it is how a
    tool's result is told in a user message. `id_length` is that of a call's id, where the template insists on one.
    """

    name: str
    opener: str = ""
    closer: str = ""
    before: str = ""
    after: str = ""
    marked: bool = True
    array: bool = False
    named: str = ""
    arguments_key: str = "arguments"
    offer: str = ""
    tools_in_array: bool = False
    result: str = "{content}"
    id_length: int | None = None

    @property
    def markers(self) -> tuple[str, ...]:
        """All texts that mark a call. Tokenizers may have tokens of their own for them."""
        return tuple(text for text in (self.opener, self.closer, self.named) if text)

    def describe_tools(self, tools: Sequence[ToolSpec]) -> str:
        """The part of a system message that offers `tools`."""
        listed = [json.dumps(tool_as_json(tool), ensure_ascii=False) for tool in tools]
        text = f"[{', '.join(listed)}]" if self.tools_in_array else "\n".join(listed)
        return self.offer.replace("{tools}", text)

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """Calls as the model would have written them."""
        opener = self.opener if self.marked else ""
        if self.named:
            return "".join(f"{opener}{call.name}{self.named}{_json(call.arguments)}" for call in calls)
        written = [f'{{"name": "{call.name}", "{self.arguments_key}": {_json(call.arguments)}}}' for call in calls]
        if self.array:
            written = [f"[{', '.join(written)}]"]
        return "\n".join(f"{opener}{self.before}{each}{self.after}{self.closer}" for each in written)

    def write_result(self, content: str) -> str:
        """A tool's result inside a user message."""
        return self.result.replace("{content}", content)

    def call_id(self, id_: str) -> str:
        """The id of a call as the template takes it: the same for the same `id_`."""
        if self.id_length is None:
            return id_
        number = int.from_bytes(hashlib.sha256(id_.encode()).digest(), "big")
        digits = []
        for _ in range(self.id_length):
            number, digit = divmod(number, len(_DIGITS))
            digits.append(_DIGITS[digit])
        return "".join(digits)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
