"""Which tools a run has: those that its spec names, built in or handed over by the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openhearth.agents.spec import AgentSpec
from openhearth.errors import ConfigError, UnknownToolError
from openhearth.tools.base import Tool
from openhearth.tools.builtin import builtin_tools
from openhearth.tools.toolset import Toolset


@dataclass(frozen=True, slots=True)
class RunTools:
    """`own` names the tools that the program handed over."""

    all: Toolset
    own: frozenset[str] = frozenset()

    @property
    def compute(self) -> bool:
        """Whether a built-in tool runs code, which needs a sandbox."""
        return any(tool.spec.language for tool in self.all if tool.spec.name not in self.own)


def with_tools(spec: AgentSpec, given: Sequence[Tool]) -> AgentSpec:
    """The spec with the names of the tools that were handed over, so that resuming knows it needs them."""
    names = dict.fromkeys((*spec.tools, *(tool.spec.name for tool in given)))
    return spec.model_copy(update={"tools": tuple(names)})


def run_tools(spec: AgentSpec, given: Sequence[Tool]) -> RunTools:
    """The tools in the order of the spec; a given one goes before a built-in one of the same name.

    Raises ConfigError for a name that neither has.
    """
    own = {tool.spec.name: tool for tool in given}
    try:
        chosen = Toolset(own.get(name) or builtin_tools([name])[0] for name in spec.tools)
    except UnknownToolError as error:
        raise ConfigError(
            error.message, hint=f"{error.hint} A tool of your own must be handed over again when a run is resumed."
        ) from error
    return RunTools(chosen, frozenset(own))
