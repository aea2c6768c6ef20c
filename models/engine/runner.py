"""One request's way through the model, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from openhearth.errors import ContextOverflowError
from openhearth.models.architectures.decoder import Decoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.architectures.step import Part, Step
from openhearth.models.engine.cache import CachePool, SequenceCache
from openhearth.models.engine.request import Finished, GenerationRequest, Output, Token
from openhearth.models.engine.sampler import Sampler, logprob
from openhearth.types import FinishReason, Timings, Usage

_PREFILL_ROWS = 128
"""Prompt tokens of one step: enough to keep the processor busy, few enough to notice a cancel soon."""


class Runner:
    """Runs requests over one decoder and its caches. Belongs to the engine's thread, which is in inference mode."""

    def __init__(self, decoder: Decoder, caches: CachePool, context: int) -> None:
        self.decoder, self.caches, self.context = decoder, caches, context

    def steps(self, request: GenerationRequest, started: float) -> Iterator[Sequence[Output]]:
        """Run `request`, which was made at `started` (`time.monotonic`).

        Each item is what one forward step brought, and may be empty; the last holds the `Finished`. Between items
        other requests may take their turn. Closing the iterator early keeps what was computed for the next request.
        Raises ContextOverflowError where the prompt leaves no room for a single token.
        """
        check_prompt(request.prompt, self.context, self.decoder.config.vocab_size)
        cache = self.caches.acquire(request.prompt, request.cache_key)
        try:
            yield from _Generation(self, cache, request, started).run()
        finally:
            self.caches.release(cache)

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits of every position, from an empty cache, which is dropped."""
        solo = Solo(self.decoder, len(ids))
        rows = [solo(ids[i : i + _PREFILL_ROWS], every_row=True) for i in range(0, len(ids), _PREFILL_ROWS)]
        return torch.cat(rows).cpu()


def check_prompt(prompt: Sequence[int], context: int, vocabulary: int) -> None:
    """Raises ContextOverflowError for a prompt that is too long, ValueError for one that is no prompt."""
    if len(prompt) >= context:
        raise ContextOverflowError(
            f"The prompt has {len(prompt)} tokens; the context of {context} holds {context - 1} and a reply of one.",
            hint="Shorten the conversation, or raise model.context up to the model's own limit.",
        )
    if not prompt:
        raise ValueError("the prompt is empty; there is nothing to continue")
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise ValueError(f"the prompt holds a token id outside the vocabulary of {vocabulary}")


class _Generation:
    """The state of one request while it runs."""

    def __init__(self, runner: Runner, cache: SequenceCache, request: GenerationRequest, started: float) -> None:
        self._decoder, self._kv, context = runner.decoder, runner.caches.kv, runner.context
        self._cache, self._request, self._started = cache, request, started
        self._constraint = request.constraint
        self._sampler = Sampler(request.sampling, request.prompt)
        stop = request.stop_ids
        self._stop_ids = frozenset(self._decoder.config.eos_ids) if stop is None else stop
        self._limit = min(request.sampling.max_tokens or context, context - len(request.prompt))
        self._cached = cache.length
        self._unread: list[int] = list(request.prompt[cache.length :])
        self._count = 0
        self._first: float | None = None
        self._last = started

    def run(self) -> Iterator[Sequence[Output]]:
        while True:
            new, reason = self._forced()
            if reason is None:
                while len(self._unread) > _PREFILL_ROWS and not self._expired():
                    self._read(_PREFILL_ROWS)
                    yield new
                    new = []
                reason = "length" if self._expired() else self._sample(self._read(len(self._unread)), new)
            if reason is not None:
                yield [*new, self._finished(reason)]
                return
            yield new

    def _forced(self) -> tuple[list[Output], FinishReason | None]:
        """Append what the constraint forces."""
        new: list[Output] = []
        if self._constraint is None:
            return new, None
        if self._constraint.finished():
            return new, "stop"
        for token in self._constraint.forced():
            if token in self._stop_ids:
                return new, "stop"
            new.append(self._append(token, None))
            if self._count >= self._limit:
                return new, "length"
        return new, "stop" if self._constraint.finished() else None

    def _read(self, count: int) -> Tensor:
        """Run the next `count` unread tokens through the model; logits of the last, [vocabulary]."""
        ids = self._unread[:count]
        cache = self._cache
        step = Step.of([Part(ids, cache.length, cache.blocks)], self._decoder.device)
        logits = self._decoder(step, self._kv)
        cache.tokens.extend(ids)
        cache.length += count
        del self._unread[:count]
        return logits[0]

    def _sample(self, logits: Tensor, new: list[Output]) -> FinishReason | None:
        kept = logits.clone() if self._request.logprobs else None
        mask = None if self._constraint is None else self._constraint.mask()
        token = self._sampler.sample(logits, mask)
        if token in self._stop_ids:
            return "stop"
        new.append(self._append(token, None if kept is None else logprob(kept, token)))
        return "length" if self._count >= self._limit else None

    def _append(self, token: int, probability: float | None) -> Token:
        self._unread.append(token)
        self._count += 1
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
        self._sampler.accept(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        return Token(token, probability)

    def _expired(self) -> bool:
        return self._request.deadline is not None and time.monotonic() >= self._request.deadline

    def _finished(self, reason: FinishReason) -> Finished:
        usage = Usage(
            prompt_tokens=len(self._request.prompt), cached_tokens=self._cached, completion_tokens=self._count
        )
        first = self._last if self._first is None else self._first
        return Finished(reason, usage, Timings(first_token_s=first - self._started, decode_s=self._last - first))
