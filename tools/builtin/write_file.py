"""write_file: put a whole file in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.editing import read_existing
from openhearth.tools.diff import file_change
from openhearth.tools.folder import Folder
from openhearth.tools.function import tool
from openhearth.tools.text import plural
from openhearth.types import FileChange, ToolOutput


def _change(arguments: Mapping[str, Any], context: ToolContext) -> tuple[FileChange, bytes]:
    content = str(arguments["content"]).encode("utf-8", "replace")
    with Folder(context.workspace) as folder:
        before = read_existing(folder, arguments["path"])
    return file_change(folder.relative(arguments["path"]), before, content), content


def _preview(arguments: Mapping[str, Any], context: ToolContext) -> str:
    return _change(arguments, context)[0].diff


@tool(idempotent=True, preview=_preview)
def write_file(
    path: Annotated[str, Field(description="File to write, for example report.md.")],
    content: Annotated[str, Field(description="The whole new content.")],
    context: ToolContext,
) -> ToolOutput:
    """Create a file or replace its whole content."""
    change, data = _change({"path": path, "content": content}, context)
    with Folder(context.workspace) as folder:
        folder.write(path, data)
    done = "Created" if change.kind == "added" else "Replaced"
    lines = plural(len(content.splitlines()), "line")
    return ToolOutput(content=f"{done} {change.path} ({lines}).", changes=(change,))
