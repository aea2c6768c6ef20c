"""Text that others wrote, made safe to show, and the short forms of numbers and times."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from openhearth.types import Routing

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)"  # OSC, DCS, APC …: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
# C0 but tab and newline, DEL, C1, and the marks that reorder what is read (U+202A…, U+2066…).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def clean(text: str) -> str:
    """`text` without terminal escapes, control characters and bidirectional overrides; line ends become newlines."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def clean_line(text: str, limit: int = 200) -> str:
    """`text` as one line of at most `limit` characters, for titles and the like."""
    line = " ".join(clean(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def head(text: str, lines: int, columns: int = 400) -> tuple[str, int]:
    """The first `lines` lines, each cut at `columns`, and how many lines were left out."""
    parts = text.rstrip("\n").split("\n")
    shown = [part if len(part) <= columns else part[: columns - 1] + "…" for part in parts[:lines]]
    return "\n".join(shown), max(0, len(parts) - lines)


def short_path(path: Path) -> str:
    """`path` with the home folder as `~`."""
    try:
        return str("~" / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def short_reference(reference: str) -> str:
    """A model reference without the folders of a file: `scripted:demo.yaml`, `model.gguf`."""
    if "://" in reference or reference.startswith("hf:"):
        return clean_line(reference, 48)
    backend, colon, rest = reference.rpartition(":")
    return clean_line(f"{backend}{colon}{rest.rstrip('/').rpartition('/')[2]}", 48)


def routed(routing: Routing) -> str:
    """A router's choice in one line."""
    passed = "".join(f"; not {each}" for each in routing.passed_over)
    return clean_line(f"→ {routing.route} ({short_reference(routing.model)}): {routing.reason}{passed}", 240)


def plural(count: int, word: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`12 ms`, `1.2 s`, `2 m 05 s`, `1 h 02 m`."""
    if seconds < 0.0995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def speed(tokens_per_second: float) -> str:
    """`14.6 tok/s`, `1,162 tok/s`."""
    return f"{tokens_per_second:,.{1 if tokens_per_second < 100 else 0}f} tok/s"


def ago(then: datetime, now: datetime) -> str:
    """How long before `now`, in the one unit that says most; a date when it is more than a month."""
    passed = max(now - then, timedelta())
    seconds = int(passed.total_seconds())
    if seconds < 60:
        return "just now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago" if seconds < 31 * 86_400 else f"{then:%Y-%m-%d}"
    return "just now"


def bar(share: float, cells: int) -> tuple[str, str]:
    """A meter of `cells` characters: its filled and its empty part. Anything above nothing shows at least one cell."""
    share = min(1.0, max(0.0, share))
    filled = min(cells, max(1, round(share * cells))) if share > 0 else 0
    return "━" * filled, "─" * (cells - filled)
