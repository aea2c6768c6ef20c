"""A plot of all ratios, as SVG: how many times better than its peer each figure is, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from _page import HIGHER_IS_BETTER

LABELS, WIDTH, ROW, TOP, MARGIN = 330, 520, 20, 46, 90
COLOURS = {True: "#2e8b57", False: "#c0392b", None: "#7f8c8d"}
STYLE = "text{font:12px sans-serif;fill:#555}.t{font-weight:bold}line{stroke:#bbb}.b{stroke:#222;stroke-width:2}"


def plot(record: Mapping[str, Any]) -> str:
    results = [result for run in record.values() for result in run["results"] if result["ratio"]]
    gains = [(result, *_gain(result)) for result in results]
    values = [value for _, gain, bar in gains for value in (gain, bar) if value] or [1.0]
    low, high = math.floor(math.log2(min(*values, 1.0))), math.ceil(math.log2(max(*values, 2.0)))
    height = TOP + ROW * len(gains) + 12

    def x(value: float) -> float:
        return round(LABELS + WIDTH * (math.log2(value) - low) / (high - low), 1)

    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LABELS + WIDTH + MARGIN} {height}">',
            f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
            f'<text class="t" x="{LABELS}" y="16">times better than the peer (a black mark is the bar)</text>',
            *_axis(x, low, high, height),
            *(line for at, row in enumerate(gains) for line in _row(x, TOP + ROW * at, *row)),
            "</svg>\n",
        ]
    )


def _gain(result: Mapping[str, Any]) -> tuple[float, float | None]:
    """The ratio and its bar, turned so that more is better."""
    ratio, bar = float(result["ratio"]), result["bar"]
    if result["unit"] in HIGHER_IS_BETTER:
        return ratio, bar
    return 1 / ratio, 1 / bar if bar else None


def _axis(x: Any, low: int, high: int, height: int) -> Iterator[str]:
    step = max(1, (high - low) // 10)
    for power in range(low, high + 1, step):
        place = x(2.0**power)
        yield f'<line x1="{place}" y1="{TOP - 8}" x2="{place}" y2="{height - 8}"/>'
        yield f'<text x="{place}" y="{TOP - 14}" text-anchor="middle">{2.0**power:g}</text>'


def _row(x: Any, y: int, result: Mapping[str, Any], gain: float, bar: float | None) -> Iterator[str]:
    start, end = sorted((x(1.0), x(gain)))
    colour = COLOURS[result["holds"]]
    yield f'<text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(result["name"])}</text>'
    yield f'<rect x="{start}" y="{y}" width="{max(1.0, round(end - start, 1))}" height="14" fill="{colour}"/>'
    if bar:
        yield f'<line class="b" x1="{x(bar)}" y1="{y - 2}" x2="{x(bar)}" y2="{y + 16}"/>'
    yield f'<text x="{max(end, x(bar) if bar else end) + 5}" y="{y + 11}">{gain:.3g} ×</text>'
