"""Granite 3: `<|tool_call|>` and an array of objects. Granite 4 writes as Hermes does."""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

GRANITE = ToolFormat(
    name="granite",
    opener="<|tool_call|>",
    array=True,
    offer=(
        "These tools can be called:\n{tools}\n\n"
        "Where one of them helps, reply with <|tool_call|> followed by a JSON array of calls, each an object with"
        ' "name" and "arguments".'
    ),
    tools_in_array=True,
    result="The tool returned:\n{content}",
)
