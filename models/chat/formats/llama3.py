"""Llama 3.1 to 3.3: one bare object with `parameters`, now and then behind `<|python_tag|>`."""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

LLAMA3 = ToolFormat(
    name="llama3",
    opener="<|python_tag|>",
    marked=False,
    arguments_key="parameters",
    offer=(
        "These functions can be called:\n\n{tools}\n\n"
        "Where one of them helps, reply with nothing but a JSON object for the call:"
        ' {"name": the function\'s name, "parameters": an object with its arguments}. Use values, not variables.'
    ),
    result="The function returned:\n{content}",
)
