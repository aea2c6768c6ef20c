"""The tools that come with OpenHearth. Each is imported on use, by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from openhearth.tools.base import Tool
from openhearth.tools.toolset import unknown_tool

BUILTIN_TOOLS = ("read_file", "write_file", "edit_file", "list_files", "search_text", "python", "shell", "sql")


def builtin_tools(names: Sequence[str] | None = None) -> list[Tool]:
    """The named tools, or all. Raises UnknownToolError, which names the nearest one."""
    return [_load(name) for name in (BUILTIN_TOOLS if names is None else names)]


def _load(name: str) -> Tool:
    if name not in BUILTIN_TOOLS:
        raise unknown_tool(name, BUILTIN_TOOLS)
    module: Any = importlib.import_module(f"openhearth.tools.builtin.{name}")
    found: Tool = getattr(module, name)
    return found
