"""Who takes part in the next step, and with how many rows.

Each step reads the last tokens of every sequence that is decoding, and what is left of its rows goes to prompts, in
equal shares. Requests begin in the order they came, as soon as there are blocks for their whole prompt; one whose
beginning is being read by another just now waits for that, and then reads the same blocks. When the blocks run out, the
youngest steps back: its blocks become the prefix tree's, and it begins again later, which its caller never sees.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.step import Part, Step
from openhearth.models.engine.cache import PrefixCache
from openhearth.models.engine.generation import Generation
from openhearth.models.engine.metrics import Metrics
from openhearth.models.engine.speculation import MOST
from openhearth.models.layers.paged import BLOCK

_MOST_RUNNING = 64
_LEAST = 8
"""Rows that a prompt gets at least, or none in this step."""
_FEW = 32
"""So many tokens are read at once even by who is decoding: those that a grammar forced."""


@dataclass(slots=True, frozen=True)
class Rows:
    """Rows of one step that prompts may have: `alone`, and `beside` sequences that are decoding and should not have to
    wait for long. `checked` is how many rows decoding and guessing may have together before a row costs something."""

    alone: int
    beside: int
    checked: int

    @classmethod
    def on(cls, device: torch.device) -> Rows:
        return cls(128, 32, MOST + 1) if device.type == "cpu" else cls(2048, 512, 128)


class Scheduler:
    """Runs all generations over one decoder. Belongs to the engine's thread, which is in inference mode."""

    def __init__(self, decoder: BaseDecoder, cache: PrefixCache, rows: Rows) -> None:
        self._decoder, self._cache, self._rows = decoder, cache, rows
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._prompt_tokens = self._hit_tokens = self._completion_tokens = self._preemptions = 0
        self._proposed = self._accepted = self._steps = self._rows_read = 0

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    def add(self, generation: Generation) -> None:
        """Put it behind those that wait."""
        if self._guarded(generation, generation.follow):
            self._waiting.append(generation)
            generation.flush()

    def step(self) -> None:
        """Take one step: let in who can be, run the model once, and hand out what that brings."""
        self._sweep()
        self._admit()
        self._sweep()
        members = self._plan()
        if members:
            self._run(members)

    def fail_all(self, error: Exception) -> None:
        """End everything with `error`."""
        for generation in [*self._running, *self._waiting]:
            generation.fail(error)
        self._sweep()

    def metrics(self) -> Metrics:
        """From any thread."""
        cache = self._cache
        return Metrics(
            prompt_tokens=self._prompt_tokens,
            hit_tokens=self._hit_tokens,
            completion_tokens=self._completion_tokens,
            evictions=cache.tree.evictions,
            used_bytes=cache.used_bytes,
            budget_bytes=cache.pool.size * cache.kv.block_bytes,
            running=len(self._running),
            waiting=len(self._waiting),
            preemptions=self._preemptions,
            proposed_tokens=self._proposed,
            accepted_tokens=self._accepted,
            steps=self._steps,
            rows=self._rows_read,
        )

    def _sweep(self) -> None:
        """Let go of what is over, cancelled or out of time."""
        now = time.monotonic()
        for generation in [*self._running, *self._waiting]:
            if generation.deadline is not None and now >= generation.deadline and not generation.over:
                generation.finish("length")
                generation.flush()
        if any(generation.over or generation.cancelled for generation in self._running):
            for generation in self._running:
                if generation.over or generation.cancelled:
                    self._release(generation)
            self._running = [g for g in self._running if not (g.over or g.cancelled)]
        if any(generation.over or generation.cancelled for generation in self._waiting):
            self._waiting = deque(g for g in self._waiting if not (g.over or g.cancelled))

    def _admit(self) -> None:
        """Begin as many of the waiting as can be, in order; only those behind another's prompt are passed by."""
        passed: list[Generation] = []
        while self._waiting and len(self._running) < _MOST_RUNNING:
            generation = self._waiting.popleft()
            if self._is_behind(generation):
                passed.append(generation)
            elif not self._begin(generation):
                self._waiting.appendleft(generation)
                break
        self._waiting.extendleft(reversed(passed))

    def _begin(self, generation: Generation) -> bool:
        """Give it blocks and let it run; False while there are not enough, one for each of those that run included."""
        begun = self._cache.begin(generation.tokens, generation.room, spare=len(self._running))
        if begun is None:
            return False
        generation.blocks, generation.read = begun
        if generation.cached is None:
            generation.cached = generation.read
            self._prompt_tokens += len(generation.tokens)
            self._hit_tokens += generation.read
        generation.behind = None
        self._running.append(generation)
        return True

    def _is_behind(self, generation: Generation) -> bool:
        """Whether another is just reading a beginning that this one has too."""
        if generation.behind is None:
            for other in self._running:
                common = _whole_blocks_in_common(generation.tokens, other.tokens) if other.pending > 1 else 0
                if common > max(other.read, generation.behind[1] if generation.behind else 0):
                    generation.behind = (other, common)
        if generation.behind is None:
            return False
        other, until = generation.behind
        return other in self._running and other.read < until

    def _plan(self) -> list[tuple[Generation, Part]]:
        """Who takes part, the oldest first, and with what."""
        by_age = sorted(self._running, key=lambda generation: generation.number)
        decoding = [generation for generation in by_age if _is_decoding(generation)]
        members: list[tuple[Generation, Part]] = []
        spare = self._rows.checked - len(decoding)
        for index, generation in enumerate(decoding):
            if not generation.blocks:
                continue  # It has just had to step back.
            share = max(spare, 0) // (len(decoding) - index)
            if not self._guarded(generation, partial(generation.propose, share)):
                continue
            if self._make_room(generation):
                spare -= len(generation.draft)
                ids = [*generation.tokens[generation.read :], *generation.draft]
                members.append((generation, Part(ids, generation.read, generation.blocks, 1 + len(generation.draft))))
        prompts = [generation for generation in by_age if generation.blocks and not _is_decoding(generation)]
        budget = self._rows.beside if members else self._rows.alone
        prompts = sorted(prompts[: max(budget // _LEAST, 1)], key=lambda generation: generation.pending)
        for index, generation in enumerate(prompts):
            count = min(generation.pending, budget // (len(prompts) - index))
            budget -= count
            ids = generation.tokens[generation.read : generation.read + count]
            wanted = 1 if count == generation.pending else 0
            members.append((generation, Part(ids, generation.read, generation.blocks, wanted)))
        return members

    def _make_room(self, generation: Generation) -> bool:
        """Find blocks for what it reads next; False where it has had to step back itself."""
        cache = self._cache
        while not cache.extend(generation.blocks, len(generation.tokens) + len(generation.draft), generation.room):
            if generation.draft:
                generation.draft = []
                continue
            youngest = max(self._running, key=lambda other: other.number)
            self._running.remove(youngest)
            self._release(youngest)
            youngest.read = 0
            self._waiting.appendleft(youngest)
            self._preemptions += 1
            if youngest is generation:
                return False
        return True

    def _run(self, members: Sequence[tuple[Generation, Part]]) -> None:
        step = Step.of([part for _, part in members], self._decoder.device)
        self._steps += 1
        self._rows_read += step.ids.shape[0]
        try:
            logits = self._decoder(step, self._cache.kv)
        except Exception as error:
            for generation, _ in members:
                generation.fail(error)
            self._sweep()
            return
        row = 0
        for generation, part in members:
            whole_blocks = generation.read // BLOCK
            if part.wanted:
                self._choose(generation, logits[row : row + part.wanted])
                row += part.wanted
            else:
                generation.read += len(part.ids)
            if generation.read // BLOCK > whole_blocks:
                self._cache.remember(generation.tokens[: generation.read], generation.blocks)
        # Whoever asks again at once is to find its blocks back in the tree.
        self._sweep()
        for generation, _ in members:
            generation.flush()

    def _choose(self, generation: Generation, logits: Tensor) -> None:
        before, proposed = generation.count, len(generation.draft)

        def choose() -> None:
            self._accepted += generation.choose(logits)

        if self._guarded(generation, choose):
            self._proposed += proposed
            self._completion_tokens += generation.count - before

    def _release(self, generation: Generation) -> None:
        self._cache.release(generation.tokens[: generation.read], generation.blocks)

    @staticmethod
    def _guarded(generation: Generation, action: Callable[[], None]) -> bool:
        """Do what may call a request's constraint; its failure is that request's alone."""
        try:
            action()
        except Exception as error:
            generation.fail(error)
            return False
        return True


def _is_decoding(generation: Generation) -> bool:
    return generation.pending <= (_FEW if generation.count else 1)


def _whole_blocks_in_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens of the whole blocks with which both begin."""
    end = 0
    while end + BLOCK <= min(len(first), len(second)) and first[end : end + BLOCK] == second[end : end + BLOCK]:
        end += BLOCK
    return end
