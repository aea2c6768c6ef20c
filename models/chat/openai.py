"""Messages, tools and calls as the dictionaries of OpenAI's chat API, which templates and servers share."""

from __future__ import annotations

import json
from typing import Any

from openhearth.types import Message, ToolCall, ToolSpec


def tool_as_json(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def message_as_json(message: Message, *, arguments_as_text: bool) -> dict[str, Any]:
    """`arguments_as_text`: servers take the arguments as a JSON string, templates as an object."""
    entry: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        entry["tool_calls"] = [_call_as_json(call, arguments_as_text) for call in message.tool_calls]
    if message.tool_call_id is not None:
        entry["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        entry["name"] = message.name
    return entry


def _call_as_json(call: ToolCall, arguments_as_text: bool) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False) if arguments_as_text else call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
