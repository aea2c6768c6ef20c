"""Which tools a run has: those that its spec names, built in or handed over by the program."""

from __future__ import annotations

from collections.abc import Sequence

from openhearth.agents.spec import AgentSpec
from openhearth.errors import ConfigError, UnknownToolError
from openhearth.tools.base import Tool
from openhearth.tools.builtin import builtin_tools
from openhearth.tools.toolset import Toolset


def with_tools(spec: AgentSpec, given: Sequence[Tool]) -> AgentSpec:
    """The spec with the names of the tools that were handed over, so that resuming knows it needs them."""
    names = dict.fromkeys((*spec.tools, *(tool.spec.name for tool in given)))
    return spec.model_copy(update={"tools": tuple(names)})


def toolset(spec: AgentSpec, given: Sequence[Tool]) -> Toolset:
    """The tools in the order of the spec; a given one goes before a built-in one of the same name.

    Raises ConfigError for a name that neither has.
    """
    own = {tool.spec.name: tool for tool in given}
    try:
        return Toolset(own.get(name) or builtin_tools([name])[0] for name in spec.tools)
    except UnknownToolError as error:
        raise ConfigError(
            error.message, hint=f"{error.hint} A tool of your own must be handed over again when a run is resumed."
        ) from error
