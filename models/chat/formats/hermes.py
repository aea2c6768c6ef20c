"""Hermes and Qwen: JSON between `<tool_call>` and `</tool_call>`.

The texts are those of Qwen's own chat template, so that a model trained on it reads what it knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from openhearth.models.chat.openai import tool_as_json
from openhearth.types import ToolCall, ToolSpec


@dataclass(frozen=True, slots=True)
class HermesFormat:
    """Implements `openhearth.models.chat.formats.ToolFormat`."""

    name: str = "hermes"
    opener: str = "<tool_call>"
    closer: str = "</tool_call>"

    def describe_tools(self, tools: Sequence[ToolSpec]) -> str:
        listed = "\n".join(json.dumps(tool_as_json(tool), ensure_ascii=False) for tool in tools)
        return (
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n"
            f"<tools>\n{listed}\n</tools>\n\n"
            "For each function call, return a json object with function name and arguments within"
            f" {self.opener}{self.closer} XML tags:\n"
            f'{self.opener}\n{{"name": <function-name>, "arguments": <args-json-object>}}\n{self.closer}'
        )

    def write_call(self, call: ToolCall) -> str:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        return f'{self.opener}\n{{"name": "{call.name}", "arguments": {arguments}}}\n{self.closer}'

    def write_result(self, content: str) -> str:
        return f"<tool_response>\n{content}\n</tool_response>"


HERMES = HermesFormat()
