"""The two streams: stdout is data, stderr is told to a person. Colour only on a terminal, and NO_COLOR is honoured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openhearth.tui.text import clean


@cache
def narration() -> Console:
    """The console on stderr. Text given to it is never searched for numbers or paths to colour."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def is_interactive() -> bool:
    """Whether there is a person who can be asked: a keyboard to answer with, and a screen to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str, style: str = "") -> None:
    """One line of narration, literally."""
    narration().print(Text(clean(text), style=style))


def write(text: str) -> None:
    """Text as data. On a terminal it is made safe to show; in a pipe it goes through as it is."""
    sys.stdout.write((clean(text) if sys.stdout.isatty() else text).rstrip("\n") + "\n")
    sys.stdout.flush()


def write_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for a terminal; in a pipe, one line of tab-separated fields a row and no heading."""
    if not sys.stdout.isatty():
        for row in rows:
            write("\t".join(" ".join(clean(field).split()) for field in row))
        return
    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        # Where the terminal is narrow, the last column is cut and the others are not.
        widest = max((cell_len(row[number]) for row in rows), default=0) if number + 1 < len(columns) else 0
        table.add_column(column, overflow="ellipsis", no_wrap=True, min_width=max(widest, cell_len(column)))
    for row in rows:
        table.add_row(*(Text(clean(field)) for field in row))
    Console(highlight=False).print(table)


def write_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; empty ones are left out."""
    shown = {name: str(value) for name, value in facts.items() if value not in (None, "", ())}
    width = max(map(len, shown), default=0) + 2
    for name, value in shown.items():
        first, *rest = clean(value).split("\n")
        write(f"{name + ':':<{width}}{first}")
        for line in rest:
            write(" " * width + line)
