"""Replacing exact text in a file, and saying what is wrong when the text is not there."""

from __future__ import annotations

import difflib

from openhearth.errors import ToolError, WorkspaceError
from openhearth.tools.folder import Folder
from openhearth.tools.text import plural

LARGEST_FILE = 16_000_000
"""Bytes that write_file and edit_file will hold in memory for a diff."""

_CONTEXT_LINES = 2
_MOST_LINES_COMPARED = 20_000


def read_existing(folder: Folder, path: str) -> bytes | None:
    """The file's content, or None when there is none yet."""
    return folder.read(path, LARGEST_FILE) if folder.exists(path) else None


def replaced(content: bytes, old: str, new: str, *, everywhere: bool, path: str) -> tuple[bytes, int]:
    """`content` with `old` replaced, and how many times.

    `old` must be there exactly once, unless `everywhere`. Line ends of the file are kept. Raises ToolError with what
    the file really holds near the text.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorkspaceError(f"{path} is not a text file.", hint="Change it with python instead.") from error
    if not old:
        raise ToolError("old_text is empty.", hint="Give the text to replace, or use write_file.")
    if old == new:
        raise ToolError("old_text and new_text are the same: nothing would change.")
    if old not in text and "\r\n" in text:
        old, new = (part.replace("\r\n", "\n").replace("\n", "\r\n") for part in (old, new))
    count = text.count(old)
    if count == 0:
        raise ToolError(f"old_text is not in {path}.", hint=_nearest(text, old))
    if count > 1 and not everywhere:
        raise ToolError(
            f"old_text is {count} times in {path}, in lines {_line_numbers(text, old)}.",
            hint="Give more lines around it so that it is found once, or set replace_all to true.",
        )
    return text.replace(old, new).encode("utf-8", "replace"), count


def _line_numbers(text: str, old: str) -> str:
    numbers: list[str] = []
    at = text.find(old)
    while at >= 0 and len(numbers) < 10:
        numbers.append(str(text.count("\n", 0, at) + 1))
        at = text.find(old, at + len(old))
    return ", ".join(numbers)


def _nearest(text: str, old: str) -> str:
    """The lines of the file that look most like `old`, verbatim, so that they can be copied."""
    wanted = [line.strip() for line in old.splitlines() if line.strip()]
    lines = text.splitlines()
    if not wanted or not lines:
        return "The file is empty." if not lines else ""
    same = [number for number, line in enumerate(lines) if line.strip() == wanted[0]]
    number = same[0] if same else _most_alike(lines[:_MOST_LINES_COMPARED], wanted[0])
    if number is None:
        return f"Nothing like it is there; read_file shows the {plural(len(lines), 'line')}."
    start = max(0, number - _CONTEXT_LINES)
    shown = lines[start : number + len(wanted) + _CONTEXT_LINES][:12]
    return f"The nearest text, from line {start + 1}, is exactly:\n" + "\n".join(line[:200] for line in shown)


def _most_alike(lines: list[str], wanted: str) -> int | None:
    matcher = difflib.SequenceMatcher(b=wanted[:200], autojunk=False)
    best, best_ratio = None, 0.4
    for number, line in enumerate(lines):
        matcher.set_seq1(line.strip()[:200])
        if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio:
            ratio = matcher.ratio()
            if ratio > best_ratio:
                best, best_ratio = number, ratio
    return best
