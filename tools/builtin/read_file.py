"""read_file: a text file, or a range of its lines."""

from __future__ import annotations

import os
from typing import Annotated, BinaryIO

from pydantic import Field

from openhearth.errors import ToolError
from openhearth.tools.base import ToolContext
from openhearth.tools.diff import is_binary
from openhearth.tools.folder import Folder
from openhearth.tools.function import tool
from openhearth.tools.text import plural, strip_escapes
from openhearth.types import ToolOutput

_LARGEST_COUNTED = 64 * 1024 * 1024
_LONGEST_LINE = 1_000_000
_NOTE_LENGTH = 100


@tool(read_only=True)
def read_file(
    path: Annotated[str, Field(description="File to read, for example data/orders.csv.")],
    context: ToolContext,
    start_line: Annotated[int, Field(ge=1, description="First line, counted from 1.")] = 1,
    end_line: Annotated[int | None, Field(ge=1, description="Last line.")] = None,
) -> ToolOutput:
    """Read a text file of the workspace."""
    if end_line is not None and end_line < start_line:
        raise ToolError(f"end_line {end_line} lies before start_line {start_line}.")
    with Folder(context.workspace) as folder, os.fdopen(folder.open(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if is_binary(file.read(8192)):
            raise ToolError(f"{path} is a binary file of {size:,} bytes.", hint="Open it with python or sql.")
        total = _count_lines(file) if size <= _LARGEST_COUNTED else None
        content, last = _lines(file, start_line, end_line, context.output_limit - _NOTE_LENGTH)
    if not content:
        if start_line == 1:
            return ToolOutput(content=f"{path} is empty.")
        raise ToolError(f"Line {start_line} is beyond the end of {path}: it has {plural(last, 'line')}.")
    if start_line == 1 and last == total:
        return ToolOutput(content=content)
    of = f" of {total:,}" if total is not None else ""
    more = f"; go on with start_line={last + 1}" if last != total and last != end_line else ""
    return ToolOutput(content=f"{content}[lines {start_line:,} to {last:,}{of}{more}]", truncated=bool(more))


def _count_lines(file: BinaryIO) -> int:
    file.seek(0)
    count, last = 0, b"\n"
    while chunk := file.read(1 << 20):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")


def _lines(file: BinaryIO, start: int, end: int | None, limit: int) -> tuple[str, int]:
    """Whole lines from `start` to `end`, as many as fit, and the number of the last line read."""
    file.seek(0)
    shown: list[str] = []
    used = number = 0
    while (end is None or number < end) and (line := _next_line(file)):
        number += 1
        if number < start:
            continue
        text = strip_escapes(line.decode("utf-8-sig" if number == 1 else "utf-8", "replace"))
        if used + len(text) > limit:
            if not shown:
                return f"{text[:limit]} [… line cut …]\n", number
            return "".join(shown), number - 1
        shown.append(text if text.endswith("\n") else f"{text}\n")
        used += len(text)
    return "".join(shown), number


def _next_line(file: BinaryIO) -> bytes:
    """The next line; what is beyond its first megabyte is read and dropped."""
    line = piece = file.readline(_LONGEST_LINE)
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(_LONGEST_LINE)
    return line
