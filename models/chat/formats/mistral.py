"""Mistral: `[TOOL_CALLS]` and an array of objects; later models, `[TOOL_CALLS]`, the name, `[ARGS]` and the arguments.

Both templates refuse ids of calls that have not exactly nine letters or digits.
"""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

MISTRAL = ToolFormat(
    name="mistral",
    opener="[TOOL_CALLS]",
    array=True,
    offer=(
        "[AVAILABLE_TOOLS]{tools}[/AVAILABLE_TOOLS]\n"
        'A call is written as [TOOL_CALLS][{"name": the function\'s name, "arguments": an object}].'
    ),
    tools_in_array=True,
    result="[TOOL_RESULTS]{content}[/TOOL_RESULTS]",
    id_length=9,
)

MISTRAL_NAMED = ToolFormat(
    name="mistral-named",
    opener="[TOOL_CALLS]",
    named="[ARGS]",
    offer=(
        "[AVAILABLE_TOOLS]{tools}[/AVAILABLE_TOOLS]\n"
        "A call is written as [TOOL_CALLS], the function's name, [ARGS], and a JSON object of its arguments."
    ),
    tools_in_array=True,
    result="[TOOL_RESULTS]{content}[/TOOL_RESULTS]",
    id_length=9,
)
