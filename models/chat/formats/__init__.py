"""How model families write tool calls. One module per family; `get_format` finds it by its catalog name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from openhearth.errors import ModelUnavailableError
from openhearth.types import ToolCall, ToolSpec

_FORMATS = {"hermes": "openhearth.models.chat.formats.hermes:HERMES"}


class ToolFormat(Protocol):
    """A family's way to write calls as text. All text is exactly what the family's own template writes."""

    @property
    def name(self) -> str: ...

    @property
    def opener(self) -> str:
        """The marker that opens a call; nothing else in a reply begins with it."""
        ...

    @property
    def closer(self) -> str: ...

    def describe_tools(self, tools: Sequence[ToolSpec]) -> str:
        """The part of a system message that offers `tools`, for templates that cannot."""
        ...

    def write_call(self, call: ToolCall) -> str:
        """A call as the model would have written it, for templates that cannot."""
        ...

    def write_result(self, content: str) -> str:
        """A tool's result inside a user message, for templates without a tool role."""
        ...


def get_format(name: str) -> ToolFormat:
    """Raises ModelUnavailableError for a name that no module answers to."""
    if name not in _FORMATS:
        raise ModelUnavailableError(
            f"No tool-call format is called {name!r}.", hint=f"Known formats: {', '.join(sorted(_FORMATS))}."
        )
    module, _, attribute = _FORMATS[name].partition(":")
    found: ToolFormat = getattr(import_module(module), attribute)
    return found
