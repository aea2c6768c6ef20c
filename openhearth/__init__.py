"""OpenHearth: an agentic workflow engine on open models.

>>> from openhearth import Agent
>>> Agent(model="smollm2-135m").run("Say hello.").output  # doctest: +SKIP

Exports are resolved on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhearth.agents.agent import Agent as Agent
    from openhearth.agents.agent import RunResult as RunResult
    from openhearth.agents.spec import Limits as Limits
    from openhearth.config import Settings as Settings
    from openhearth.config import load_settings as load_settings
    from openhearth.errors import HearthError as HearthError
    from openhearth.tools.function import tool as tool
    from openhearth.types import Message as Message
    from openhearth.types import Sampling as Sampling
    from openhearth.types import ToolCall as ToolCall
    from openhearth.types import ToolOutput as ToolOutput

__version__ = "0.1.0"

_EXPORTS = {
    "Agent": "openhearth.agents.agent",
    "RunResult": "openhearth.agents.agent",
    "Limits": "openhearth.agents.spec",
    "Settings": "openhearth.config",
    "load_settings": "openhearth.config",
    "HearthError": "openhearth.errors",
    "tool": "openhearth.tools.function",
    "Message": "openhearth.types",
    "Sampling": "openhearth.types",
    "ToolCall": "openhearth.types",
    "ToolOutput": "openhearth.types",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
