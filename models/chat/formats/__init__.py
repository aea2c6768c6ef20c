"""How model families write tool calls: one module a family, found by its catalog name or by the chat template."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from importlib import import_module

from openhearth.errors import ModelUnavailableError
from openhearth.models.chat.formats.base import ToolFormat

__all__ = ["ToolFormat", "detect_format", "get_format"]

_FORMATS = {
    "granite": "granite:GRANITE",
    "hermes": "hermes:HERMES",
    "llama3": "llama3:LLAMA3",
    "mistral": "mistral:MISTRAL",
    "mistral-named": "mistral:MISTRAL_NAMED",
    "phi": "phi:PHI",
    "plain": "plain:PLAIN",
}


def get_format(name: str) -> ToolFormat:
    """Raises ModelUnavailableError for a name that no module answers to."""
    if name not in _FORMATS:
        raise ModelUnavailableError(
            f"No tool-call format is called {name!r}.", hint=f"Known formats: {', '.join(sorted(_FORMATS))}."
        )
    module, _, attribute = _FORMATS[name].partition(":")
    found: ToolFormat = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def detect_format(template: str, added_tokens: Collection[str] = ()) -> ToolFormat:
    """The format that a chat template writes calls in, or that the tokenizer has markers for; else `plain`."""

    def known(marker: str) -> bool:
        return marker in template or marker in added_tokens

    if known("[TOOL_CALLS]"):
        if known("[ARGS]"):
            return get_format("mistral-named")
        found = get_format("mistral")
        return replace(found, before=" ") if "[TOOL_CALLS] [" in template else found
    if known("<tool_call>"):
        return get_format("hermes")
    if known("<|tool_call|>"):
        return get_format("phi" if known("<|/tool_call|>") else "granite")
    return get_format("llama3" if known("<|python_tag|>") else "plain")
