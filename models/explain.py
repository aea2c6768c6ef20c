"""Why a router would choose as it does, without asking any of its models."""

from __future__ import annotations

from pathlib import Path

from openhearth.config import Settings
from openhearth.errors import ConfigError
from openhearth.models.backends.router import RouterModel
from openhearth.models.reference import resolve_reference
from openhearth.types import Message, ModelRequest, Routing, ToolSpec

_SOME_TOOL = ToolSpec(name="tool", description="Stands for whatever is on offer.", parameters={"type": "object"})


async def explain_route(reference: str, text: str, settings: Settings, *, tools: bool = False) -> Routing:
    """Where the router behind `reference` would send `text`, were it the first message of a conversation.

    Raises ConfigError for a reference that is no router's, and what opening a router raises.
    """
    resolved = resolve_reference(reference)
    if resolved.kind != "router":
        raise ConfigError(f"{reference} is one model; it routes nothing.", hint="Name a router: router:FILE.yaml.")
    router = RouterModel.from_file(Path(resolved.value), settings, reference=reference)
    messages = (Message(role="user", content=text),)
    try:
        return await router.decide(ModelRequest(messages=messages, tools=(_SOME_TOOL,) if tools else ()))
    finally:
        await router.aclose()
