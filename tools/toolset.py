"""The tools on offer in a run, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from openhearth.errors import ToolError, UnknownToolError
from openhearth.tools.base import Tool
from openhearth.types import ToolSpec


class Toolset:
    """An ordered set of tools with distinct names."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.spec.name in self._tools:
                raise ToolError(f"Two tools are called {tool.spec.name}.", hint="Give one of them another name.")
            self._tools[tool.spec.name] = tool

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(tool.spec for tool in self)

    def get(self, name: str) -> Tool:
        """The tool called `name`. Raises UnknownToolError, which names the nearest one."""
        found = self._tools.get(name)
        if found is None:
            raise unknown_tool(name, self._tools)
        return found


def unknown_tool(name: str, known: Iterable[str]) -> UnknownToolError:
    """The error for a name that no tool has; the hint names the nearest one and lists all."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    question = f"Did you mean {near[0]}? " if near else ""
    offer = f"The tools are: {', '.join(known)}." if known else "There are no tools."
    return UnknownToolError(f"There is no tool called {name}.", hint=question + offer)
