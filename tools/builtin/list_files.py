"""list_files: what is in the workspace."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.folder import Entry, Folder
from openhearth.tools.function import tool
from openhearth.tools.text import plural, strip_escapes
from openhearth.types import ToolOutput

_MOST_SHOWN = 200


@tool(read_only=True)
def list_files(
    context: ToolContext,
    path: Annotated[str, Field(description="Folder to list.")] = ".",
    pattern: Annotated[str, Field(description="Only names like this, for example *.csv.")] = "*",
) -> ToolOutput:
    """List the files of the workspace, with their sizes."""
    with Folder(context.workspace) as folder:
        found = [entry for entry in folder.entries(path) if not entry.is_folder and _fits(entry, pattern)]
    found.sort(key=lambda entry: entry.path)
    lines = [f"{strip_escapes(entry.path)} ({_size(entry.size)})" for entry in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        lines.append(f"[{plural(len(found) - _MOST_SHOWN, 'more file')}; give a path or a pattern]")
    return ToolOutput(content="\n".join(lines) or "No files.", truncated=len(found) > _MOST_SHOWN)


def _fits(entry: Entry, pattern: str) -> bool:
    return fnmatch(PurePosixPath(entry.path).name, pattern) or fnmatch(entry.path, pattern)


def _size(count: int) -> str:
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1_000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
