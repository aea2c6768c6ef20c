"""edit_file: replace one exact piece of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.editing import LARGEST_FILE, replaced
from openhearth.tools.diff import file_change
from openhearth.tools.folder import Folder
from openhearth.tools.function import tool
from openhearth.tools.text import plural
from openhearth.types import ToolOutput


def _edit(folder: Folder, path: str, old: str, new: str, everywhere: bool) -> tuple[bytes, bytes, int]:
    before = folder.read(path, LARGEST_FILE)
    after, count = replaced(before, old, new, everywhere=everywhere, path=path)
    return before, after, count


def _preview(arguments: Mapping[str, Any], context: ToolContext) -> str:
    path = arguments["path"]
    with Folder(context.workspace) as folder:
        before, after, _ = _edit(
            folder, path, arguments["old_text"], arguments["new_text"], arguments.get("replace_all", False)
        )
        return file_change(folder.relative(path), before, after).diff


@tool(preview=_preview)
def edit_file(
    path: Annotated[str, Field(description="File to change.")],
    old_text: Annotated[str, Field(description="Text to replace, exactly as it stands in the file.")],
    new_text: Annotated[str, Field(description="Text to put in its place.")],
    context: ToolContext,
    replace_all: Annotated[bool, Field(description="Replace every occurrence.")] = False,
) -> ToolOutput:
    """Replace a piece of text in a file. The text must be in the file exactly once."""
    with Folder(context.workspace) as folder:
        before, after, count = _edit(folder, path, old_text, new_text, replace_all)
        folder.write(path, after)
        change = file_change(folder.relative(path), before, after)
    return ToolOutput(content=f"Changed {change.path} in {plural(count, 'place')}.\n{change.diff}", changes=(change,))
