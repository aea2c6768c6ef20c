"""Text that no conversion was calibrated with, to measure what a precision costs."""

from __future__ import annotations

CODE = '''class Inventory:
    """Counts of parts, by part number. Never negative."""

    def __init__(self, counts: dict[str, int] | None = None) -> None:
        self._counts = dict(counts or {})

    def take(self, part: str, amount: int = 1) -> int:
        """Remove `amount` of `part`; returns what is left. Raises ValueError when there are too few."""
        available = self._counts.get(part, 0)
        if amount > available:
            raise ValueError(f"only {available} of {part} left, {amount} wanted")
        self._counts[part] = available - amount
        return self._counts[part]

    def merge(self, other: "Inventory") -> "Inventory":
        parts = self._counts.keys() | other._counts.keys()
        return Inventory({p: self._counts.get(p, 0) + other._counts.get(p, 0) for p in parts})


def parse(lines):
    result = {}
    for number, line in enumerate(lines, start=1):
        name, separator, count = line.partition(":")
        if not separator or not count.strip().isdigit():
            raise SyntaxError(f"line {number}: expected 'name: count', got {line!r}")
        result[name.strip()] = int(count)
    return Inventory(result)
'''

PROSE = """The old mill at the edge of the village had not turned for thirty years when the new owner arrived. She was
an engineer from the coast, and the first thing she did was to climb down to the wheel with a lamp and a notebook. The
bearings were sound; the wood was not. Over the winter she drew plans, and in March two carpenters came with oak from
the next valley. People stopped on the bridge to watch, and to explain why it could never work: the stream was too low
in summer, the price of flour too low in every season. She listened politely. In June the sluice was opened, the wheel
shook, groaned and began to move, and the water that had passed unused for a generation lit the lamps of eleven houses.
Nobody ground any flour. The mill had become a power station, and by autumn the council asked whether it could light the
school as well. When a journalist wanted to know how she had got the idea, she said that there had been no idea, only a
river, a wheel and a wire, and that somebody had to tie them together."""
