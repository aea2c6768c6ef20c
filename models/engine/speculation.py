"""Guessing what comes next from what was there before (prompt lookup, Saxena 2023; Yang et al. 2023, arXiv 2304.04487).

Agents quote: a tool's output, a file, an argument given earlier. Where the last tokens have occurred before, what
followed them then is a good guess. A step reads the guess together with the last token, for little more than the last
token alone, and each guessed token that turns out to be the one that is chosen anyway saves a step of its own. So the
guess never decides anything: with or without it the same tokens come, whether by argmax or by lot.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 7
"""Tokens of one guess. With the last token that makes eight rows, which cost little more than one."""

_KEY = 3
"""Tokens that must have occurred together."""
_PLACES = 8
"""So many of the latest occurrences are compared."""
_CONTEXT = 24
"""So far back."""
_LONGEST_REST = 64


class Speculator:
    """Guesses for one sequence, and learns from what became of them."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int, int], list[int]] = {}
        self._indexed = 0
        self._length = 3
        self._misses = 0
        self._resume = 0

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that may follow `tokens`, a list that only ever grows from call to call."""
        most = min(most, self._length)
        if most <= 0 or len(tokens) < max(self._resume, _KEY + 1):
            return []
        self._index(tokens)
        places = self._places.get((tokens[-3], tokens[-2], tokens[-1]))
        if places is None:
            return []
        start = max(places[-_PLACES:], key=lambda place: (_agreement(tokens, place), place))
        draft: list[int] = []
        for at in range(start, start + most):
            # A guess may run into itself: that is how repetitions go on.
            draft.append(tokens[at] if at < len(tokens) else draft[at - len(tokens)])
        return draft

    def learn(self, length: int, proposed: int, accepted: int) -> None:
        """Of `proposed` tokens `accepted` came true; the sequence now has `length`.

        Guesses grow while they come true, and shrink to what did. After several in vain there is a rest, each time a
        longer one, so that text without repetitions loses next to nothing.
        """
        if accepted == proposed:
            self._length = min(2 * self._length, MOST)
            self._misses = 0
        elif accepted:
            self._length = accepted + 1
            self._misses = 0
        else:
            self._length = max(self._length // 2, 2)
            self._misses += 1
            if self._misses > 1:
                self._resume = length + min(2 ** (self._misses + 1), _LONGEST_REST)

    def _index(self, tokens: Sequence[int]) -> None:
        """Note each key's places, except the last key's own: a place is where what followed begins."""
        for place in range(max(self._indexed, _KEY), len(tokens)):
            key = (tokens[place - 3], tokens[place - 2], tokens[place - 1])
            self._places.setdefault(key, []).append(place)
        self._indexed = len(tokens)


def _agreement(tokens: Sequence[int], place: int) -> int:
    """How many tokens before `place` are the same as at the end."""
    end = len(tokens)
    count = _KEY
    limit = min(_CONTEXT, place)
    while count < limit and tokens[place - 1 - count] == tokens[end - 1 - count]:
        count += 1
    return count
