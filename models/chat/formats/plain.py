"""Gemma and every model that was taught no markup: one bare JSON object, explained in the prompt."""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

PLAIN = ToolFormat(
    name="plain",
    offer=(
        "# Functions\n\n{tools}\n\n"
        "Where one of these helps, reply with nothing but a JSON object for the call:"
        ' {"name": the function\'s name, "arguments": an object with its arguments}.'
        " Where none does, reply in words."
    ),
    result="Result of the call:\n{content}",
)
