"""search_text: lines that match a regular expression."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Annotated

import regex
from pydantic import Field

from openhearth.errors import ToolError, WorkspaceError
from openhearth.tools.base import ToolContext
from openhearth.tools.diff import is_binary
from openhearth.tools.folder import Folder
from openhearth.tools.function import tool
from openhearth.tools.text import strip_escapes
from openhearth.types import ToolOutput

_MOST_MATCHES = 100
_LARGEST_FILE = 32_000_000
_LONGEST_LINE = 300
_TIME_LIMIT_S = 5.0


@tool(read_only=True)
def search_text(
    pattern: Annotated[str, Field(description="Regular expression, for example total|sum.")],
    context: ToolContext,
    path: Annotated[str, Field(description="File or folder to search.")] = ".",
    files: Annotated[str, Field(description="Only files named like this, for example *.py.")] = "*",
    ignore_case: Annotated[bool, Field(description="Treat A and a alike.")] = False,
) -> ToolOutput:
    """Search the workspace's text files for lines that match a pattern."""
    try:
        compiled = regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except regex.error as error:
        raise ToolError(
            f"Bad pattern {pattern!r}: {error}.", hint="Put \\ before ( ) [ ] * + ? . to mean them."
        ) from error
    deadline = time.monotonic() + _TIME_LIMIT_S
    lines: list[str] = []
    try:
        with Folder(context.workspace) as folder:
            for line in _matches(folder, path, files, compiled, deadline):
                lines.append(line)
                if len(lines) == _MOST_MATCHES:
                    break
    except TimeoutError:
        lines.append(f"[stopped after {_TIME_LIMIT_S:.0f} s; use a simpler pattern, or name a file]")
        return ToolOutput(content="\n".join(lines), truncated=True)
    if len(lines) == _MOST_MATCHES:
        lines.append(f"[stopped at {_MOST_MATCHES} matches; narrow the pattern, or name a file]")
        return ToolOutput(content="\n".join(lines), truncated=True)
    return ToolOutput(content="\n".join(lines) or "No line matches.")


def _matches(folder: Folder, path: str, files: str, pattern: regex.Pattern[str], deadline: float) -> Iterator[str]:
    for name in _files(folder, path, files):
        try:
            with os.fdopen(folder.open(name), "rb") as file:
                content = file.read(_LARGEST_FILE)
        except WorkspaceError:
            continue  # unreadable, or replaced meanwhile
        if is_binary(content):
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            # Only the engine of `regex` can be stopped in the middle of a pattern that backtracks for ever.
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if pattern.search(line, timeout=left):
                yield f"{name}:{number}: {strip_escapes(line)[:_LONGEST_LINE]}"


def _files(folder: Folder, path: str, files: str) -> Iterator[str]:
    if folder.is_file(path):
        yield folder.relative(path)
        return
    for entry in folder.entries(path):
        if not entry.is_folder and fnmatch(PurePosixPath(entry.path).name, files):
            yield entry.path
