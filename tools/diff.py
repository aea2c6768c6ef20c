"""What changed in a file, as a value with a bounded unified diff."""

from __future__ import annotations

import difflib
from typing import Literal

from openhearth.tools.text import plural, strip_escapes
from openhearth.types import FileChange

LARGEST_DIFFED = 256 * 1024
"""Bytes; difflib takes seconds beyond this."""

_MAX_LINES = 400


def file_change(path: str, before: bytes | None, after: bytes | None) -> FileChange:
    """The change of one file; None stands for a file that is not there."""
    kind = "added" if before is None else "deleted" if after is None else "modified"
    return FileChange(path=path, kind=kind, diff=unified_diff(path, before or b"", after or b""))


def unified_diff(path: str, before: bytes, after: bytes) -> str:
    """A unified diff of at most 400 lines; empty for binary files."""
    if is_binary(before) or is_binary(after):
        return ""
    if max(len(before), len(after)) > LARGEST_DIFFED:
        return _summary(path, len(before), len(after))
    old, new = (_lines(content) for content in (before, after))
    lines = list(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))
    if len(lines) > _MAX_LINES:
        left_out = len(lines) - _MAX_LINES
        lines = [*lines[:_MAX_LINES], f"[… {plural(left_out, 'line')} left out …]\n"]
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def large_file_change(path: str, existed: bool, exists: bool, size_before: int, size_after: int) -> FileChange:
    """The change of a file that is too large to read; the diff names the sizes in bytes."""
    kind: Literal["added", "modified", "deleted"] = "modified"
    if not (existed and exists):
        kind = "added" if exists else "deleted"
    return FileChange(path=path, kind=kind, diff=_summary(path, size_before, size_after))


def is_binary(content: bytes) -> bool:
    """Whether `content` holds a NUL byte near its start, which text does not."""
    return b"\0" in content[:8192]


def _summary(path: str, size_before: int, size_after: int) -> str:
    return f"--- a/{path}\n+++ b/{path}\n@@ {size_before:,} bytes before, {size_after:,} bytes after @@\n"


def _lines(content: bytes) -> list[str]:
    return strip_escapes(content.decode("utf-8", "replace")).splitlines(keepends=True)
