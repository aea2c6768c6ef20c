"""The table of all results, as Markdown."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

INTRODUCTION = """\
# Benchmarks

`make bench` writes this page and the plot from what the scripts in `benchmarks/` print. A figure on its own says
little about software and much about a machine: so ours and the peer's are measured in one run, in turns, and what
counts is the ratio of the medians. A bar bounds the ratio or, where there is no peer, our own value.

![How many times better than the peer](benchmarks.svg)
"""
HEAD = "| what | ours | peer | ratio | bar | |\n|---|---|---|---|---|---|"
HIGHER_IS_BETTER = frozenset({"tok/s", "texts/s", "share", ""})
"""Units of which more is better; of all others (seconds, bytes, nats) less is."""


def page(record: Mapping[str, Any], sources: Mapping[str, Path]) -> str:
    return "\n".join([INTRODUCTION, *_sections(record, sources)]) + "\n"


def _sections(record: Mapping[str, Any], sources: Mapping[str, Path]) -> Iterator[str]:
    for script, run in record.items():
        yield f"## {script.replace('_', ' ')}\n"
        yield f"{_summary(sources[script])} (`benchmarks/{script}.py`)\n"
        yield HEAD
        yield from map(_row, run["results"])
        facts = ", ".join(f"{name} {value}" if name != "processor" else value for name, value in run["machine"].items())
        yield f"\nMeasured on {run['date']}: {facts}.\n"


def _summary(source: Path) -> str:
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").splitlines()[0]


def _row(result: Mapping[str, Any]) -> str:
    unit, ratio, bar = result["unit"], result["ratio"], result["bar"]
    at_most = unit not in HIGHER_IS_BETTER
    cells = (
        result["name"],
        f"{_figure(result['ours'])} {unit}".strip(),
        "" if result["peer"] is None else f"{_figure(result['peer'])} ({result['peer_name']})",
        "" if ratio is None else f"{_figure(ratio)} ×",
        "" if bar is None else f"{'≤' if at_most else '≥'} {bar:g}",
        {True: "holds", False: "**missed**", None: ""}[result["holds"]],
    )
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
