"""Phi-4-mini: an array of objects between `<|tool_call|>` and `<|/tool_call|>`.

Its template takes tools with the system message, between `<|tool|>` and `<|/tool|>`, not as a variable.
"""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

PHI = ToolFormat(
    name="phi",
    opener="<|tool_call|>",
    closer="<|/tool_call|>",
    array=True,
    offer="<|tool|>{tools}<|/tool|>",
    tools_in_array=True,
    result="<|tool_response|>{content}",
)
