"""Holds the decoder to a call's grammar while, and only while, it writes one.

The model writes freely. The streaming parser watches the text; once a call in JSON opens, the grammar takes over at
that very place, what is forced is appended without sampling, and after the call the model is free again. Whatever is
sampled, a call that was opened and not cut off parses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch

from openhearth.models.chat.call_plan import CallPlan
from openhearth.models.chat.detokenise import Detokeniser, TokenBytes
from openhearth.models.chat.events import Region, Text
from openhearth.models.chat.grammar import Matcher
from openhearth.models.chat.parser import StreamParser
from openhearth.models.chat.stop import StopFilter


class ToolCallConstraint:
    """Implements `openhearth.models.engine.constraint.Constraint` for one reply."""

    def __init__(self, plan: CallPlan, token_bytes: TokenBytes, *, stops: Sequence[str] = ()) -> None:
        """The reply also ends with one of `stops` in its text. Raises GrammarError for an impossible output schema."""
        self._plan = plan
        self._stop = StopFilter(stops)
        self._detokeniser = Detokeniser(token_bytes)
        self._parser = StreamParser(plan.tools, tool_format=plan.tool_format)
        opening = plan.opening()
        self._matcher: Matcher | None = plan.compiler.start(opening) if opening is not None else None
        self._opening = self._matcher is not None
        self._output_complete = False
        self._refused: str | None = None
        """The source of a region that no grammar fits: it is left alone."""

    def mask(self) -> torch.Tensor | None:
        return self._matcher.mask() if self._matcher is not None else None

    def forced(self) -> Sequence[int]:
        return self._matcher.forced() if self._matcher is not None else ()

    def allowed(self, tokens: Sequence[int]) -> int:
        return self._matcher.allowed(tokens) if self._matcher is not None else len(tokens)

    def accept(self, token: int) -> None:
        stopped = False
        if self._matcher is not None:
            self._matcher.accept(token)
            stopped = self._matcher.stopped
        for event in self._parser.feed(self._detokeniser.feed([token])):
            if isinstance(event, Text):
                self._stop.feed(event.text)
        if stopped:
            self._matcher = None
            called = self._parser.calls or self._parser.in_call
            self._output_complete = self._opening and self._plan.output is not None and not called
            self._opening = False
        if self._matcher is None and not self._detokeniser.pending:
            self._follow(self._parser.region)

    def finished(self) -> bool:
        called = self._plan.one_call and self._parser.calls > 0 and self._matcher is None
        return called or self._output_complete or self._stop.hit or self._parser.ended

    def _follow(self, region: Region | None) -> None:
        """Take over where a call is being written, if a grammar agrees with what is there already."""
        if region is None:
            self._refused = None
        elif self._refused is None or not region.source.startswith(self._refused):
            self._matcher = next(self._matchers(region), None)
            self._refused = region.source if self._matcher is None else None

    def _matchers(self, region: Region) -> Iterator[Matcher]:
        for grammar in self._plan.grammars(region):
            matcher = self._plan.compiler.start(grammar)
            if matcher.accept_text(region.source) and not matcher.stopped:
                yield matcher


class BannedTokens:
    """A constraint that only keeps some tokens out, such as the marker of a call where none may be made.

    Those of `at_first` may only not begin the reply.
    """

    def __init__(self, tokens: Collection[int], *, vocab_size: int, at_first: Collection[int] = ()) -> None:
        self._always = frozenset(tokens)
        self._banned = self._always | frozenset(at_first)
        self._vocab_size = vocab_size
        self._mask = _without(self._banned, vocab_size)

    def mask(self) -> torch.Tensor | None:
        return self._mask

    def forced(self) -> Sequence[int]:
        return ()

    def allowed(self, tokens: Sequence[int]) -> int:
        return next((index for index, token in enumerate(tokens) if token in self._banned), len(tokens))

    def accept(self, token: int) -> None:
        if self._banned != self._always:
            self._banned = self._always
            self._mask = _without(self._always, self._vocab_size)

    def finished(self) -> bool:
        return False


def _without(tokens: Collection[int], vocab_size: int) -> torch.Tensor | None:
    """The mask that forbids `tokens`."""
    if not tokens:
        return None
    bits = np.full(-(-vocab_size // 32) * 32, 1, dtype=np.uint8)
    bits[list(tokens)] = 0
    return torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))
