"""From a request to the prompt's text, in the words of the model's own chat template.

What a template cannot do is done for it: tools, calls and results become text in the family's format, and a system
message moves into the first user message. Tools that take source code are offered as fenced blocks, not as JSON, and
the history shows their calls the same way, so that the model goes on as it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from openhearth.models.chat.calls import is_code_tool
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.openai import message_as_json, tool_as_json
from openhearth.models.chat.template import ChatTemplate
from openhearth.types import Message, ModelRequest, ToolSpec

_BREAK = "\N{ZERO WIDTH SPACE}"


class PromptWriter:
    """Renders requests with one template.

    `control_tokens` are texts that the tokenizer would read as control tokens. Wherever a message contains one, an
    invisible space breaks it: what a user or a tool says can never open or close a turn.
    """

    def __init__(self, template: ChatTemplate, tool_format: ToolFormat, control_tokens: Iterable[str] = ()) -> None:
        self._template = template
        self._format = tool_format
        self._control = tuple(token for token in control_tokens if len(token) > 1)

    def write(self, request: ModelRequest) -> str:
        """The whole prompt, up to where the reply begins. Raises what `ChatTemplate.render` raises.

        Tools are described even where none may be called now: left out, they would change the prompt's beginning, and
        the whole conversation behind it would have to be read again.
        """
        code = [tool for tool in request.tools if is_code_tool(tool)]
        described = [tool for tool in request.tools if not is_code_tool(tool)]
        messages = [self._message(message, request.tools) for message in request.messages]
        sections = [self._code_section(code)] if code else []
        if described and not self._template.takes_tools:
            sections.insert(0, self._format.describe_tools(described))
        messages = self._with_system(messages, sections)
        if not self._template.takes_tools:
            messages = [turn for message in messages for turn in self._as_plain(message)]
            messages = _joined_users(messages)
        native = [tool_as_json(tool) for tool in described] if self._template.takes_tools else []
        entries = [message_as_json(message, arguments_as_text=False) for message in messages]
        return self._template.render(entries, tools=native)

    def _message(self, message: Message, tools: Sequence[ToolSpec]) -> Message:
        """Without control tokens, and with calls of code as the fenced blocks that they were."""
        content = self._defuse(message.content)
        blocks = []
        calls = []
        for call in message.tool_calls:
            arguments = self._defuse_value(call.arguments)
            tool = next((tool for tool in tools if tool.name == call.name), None)
            if tool is not None and is_code_tool(tool) and set(arguments) == {tool.source_argument}:
                blocks.append(_as_block(tool, str(arguments[tool.source_argument])))
            else:
                calls.append(call.model_copy(update={"id": self._format.call_id(call.id), "arguments": arguments}))
        content = "\n".join([content, *blocks] if content else blocks)
        answered = message.tool_call_id and self._format.call_id(message.tool_call_id)
        changes = {"content": content, "tool_calls": tuple(calls), "tool_call_id": answered}
        return message.model_copy(update=changes)

    def _with_system(self, messages: list[Message], sections: list[str]) -> list[Message]:
        system = [message.content for message in messages[:1] if message.role == "system"]
        rest = messages[len(system) :]
        text = "\n\n".join(part for part in [*system, *sections] if part)
        if not text:
            return rest
        if self._template.takes_system:
            return [Message(role="system", content=text), *rest]
        first = next((i for i, message in enumerate(rest) if message.role == "user"), None)
        if first is None:
            return [Message(role="user", content=text), *rest]
        joined = rest[first].model_copy(update={"content": f"{text}\n\n{rest[first].content}"})
        return [*rest[:first], joined, *rest[first + 1 :]]

    def _as_plain(self, message: Message) -> list[Message]:
        """For a template that knows neither calls nor results."""
        if message.role == "tool":
            return [Message(role="user", content=self._format.write_result(message.content))]
        written = self._format.write_calls(message.tool_calls) if message.tool_calls else ""
        return [Message(role=message.role, content="\n".join(filter(None, [message.content, written])))]

    @staticmethod
    def _code_section(tools: Sequence[ToolSpec]) -> str:
        lines = [
            "# Code",
            "To compute, write one fenced code block, then stop. It is run and you are shown its output.",
        ]
        lines += [f"```{tool.language} runs with {tool.name}: {tool.description}" for tool in tools]
        return "\n\n".join(lines)

    def _defuse(self, text: str) -> str:
        for token in self._control:
            if token in text:
                text = text.replace(token, token[0] + _BREAK + token[1:])
        return text

    def _defuse_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._defuse(value)
        if isinstance(value, list):
            return [self._defuse_value(item) for item in value]
        if isinstance(value, dict):
            return {self._defuse(key): self._defuse_value(item) for key, item in value.items()}
        return value


def _as_block(tool: ToolSpec, source: str) -> str:
    marks = "```"
    while marks in source:
        marks += "`"
    return f"{marks}{tool.language}\n{source}\n{marks}"


def _joined_users(messages: list[Message]) -> list[Message]:
    """Several user turns in a row as one: some templates insist that turns alternate."""
    joined: list[Message] = []
    for message in messages:
        if joined and message.role == "user" == joined[-1].role:
            content = f"{joined[-1].content}\n{message.content}"
            joined[-1] = joined[-1].model_copy(update={"content": content})
        else:
            joined.append(message)
    return joined
