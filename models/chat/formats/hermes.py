"""Hermes and Qwen, and who followed them (Granite 4, SmolLM3): an object between `<tool_call>` and `</tool_call>`.

The texts are those of Qwen's own chat template, so that a model trained on it reads what it knows.
"""

from __future__ import annotations

from openhearth.models.chat.formats.base import ToolFormat

HERMES = ToolFormat(
    name="hermes",
    opener="<tool_call>",
    closer="</tool_call>",
    before="\n",
    after="\n",
    offer=(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        "<tools>\n{tools}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within"
        " <tool_call></tool_call> XML tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    ),
    result="<tool_response>\n{content}\n</tool_response>",
)
