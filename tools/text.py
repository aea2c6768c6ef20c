"""Text that goes to a model or a terminal: bounded, and free of terminal escapes."""

from __future__ import annotations

import re

# CSI, OSC (ended by BEL or ST), DCS/SOS/PM/APC strings, then any other escape of two bytes.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# Control characters a terminal acts on; tab and newline stay. Bidirectional overrides can make text read as other text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def strip_escapes(text: str) -> str:
    """`text` without terminal escapes and control characters; carriage returns become line ends."""
    text = _ESCAPES.sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text)


def elide(text: str, limit: int) -> tuple[str, bool]:
    """`text` in at most about `limit` characters: head and tail kept, whole lines where possible.

    Returns the text and whether something was left out. The note in the middle says how much.
    """
    if len(text) <= limit:
        return text, False
    head = text[: limit * 2 // 3]
    tail = text[len(text) - (limit - len(head)) :]
    if "\n" in head:
        head = head[: head.rindex("\n") + 1]
    if "\n" in tail[:-1]:
        tail = tail[tail.index("\n") + 1 :]
    left_out = text[len(head) : len(text) - len(tail)]
    note = f"[… {len(left_out):,} characters ({left_out.count(chr(10)):,} lines) left out …]"
    joint = "" if head.endswith("\n") else "\n"
    return f"{head}{joint}{note}\n{tail}", True


def plural(count: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
