"""One-line layouts: something at the left, something at the right."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

_GAP = 2


def spread(left: Content, right: Content, width: int) -> Content:
    """`left` and `right` at the ends of a line of `width` cells; `left` is cut when they do not both fit."""
    room = max(0, width - right.cell_length - (_GAP if right.cell_length else 0))
    if left.cell_length > room:
        left = left.truncate(room, ellipsis=True)
    return Content.assemble(left, " " * max(0, width - left.cell_length - right.cell_length), right)


def fit(parts: Sequence[Content], width: int, separator: Content) -> Content:
    """As many of `parts` as fit, the first ones mattering most, joined by `separator`."""
    shown: list[Content] = []
    used = 0
    for part in parts:
        more = [separator, part] if shown else [part]
        used += sum(content.cell_length for content in more)
        if used > width:
            break
        shown += more
    # Not Content.join: the cell length that it remembers counts one separator too many.
    return Content.assemble(*shown)
