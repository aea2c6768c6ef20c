"""One request's tokens: which there are, which were read, which come next, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from openhearth.models.engine.request import Finished, GenerationRequest, Output, Token
from openhearth.models.engine.sampler import Sampler, logprob
from openhearth.models.engine.speculation import Speculator
from openhearth.types import FinishReason, Timings, Usage

Batch = Sequence[Any] | BaseException
"""What one step brought, or how the work failed."""


class Generation:
    """The state of one request. All but `cancelled` belongs to the engine's thread, which is in inference mode.

    `tokens` are prompt and reply. The keys and values of the first `read` of them are in `blocks`; those of `draft`,
    a guess at what comes next, follow behind them in the step that checks it.
    """

    def __init__(
        self,
        request: GenerationRequest,
        emit: Callable[[Batch], None],
        *,
        number: int,
        started: float,
        context: int,
        end_ids: Sequence[int],
        speculate: bool,
    ) -> None:
        """`number` is the order of arrival, `started` its time (`time.monotonic`), `context` bounds prompt and reply;
        `end_ids` are the model's own ends."""
        prompt = list(request.prompt)
        self.number = number
        self.cancelled = False
        self.tokens = prompt
        self.read = 0
        self.blocks: list[int] = []
        self.draft: list[int] = []
        self.cached: int | None = None
        """Tokens that were in the cache when it began."""
        self.behind: tuple[Generation, int] | None = None
        """Whom it waits for, to read what both begin with, and up to which token."""
        self.over = False
        self.deadline = request.deadline
        self.speculator = Speculator() if speculate else None
        self._request, self._emit, self._started = request, emit, started
        self._constraint = request.constraint
        self._sampler = Sampler(request.sampling, prompt)
        self._stop_ids = frozenset(end_ids) if request.stop_ids is None else request.stop_ids
        self._prompt = len(prompt)
        self._limit = min(request.sampling.max_tokens or context, context - self._prompt)
        self._first: float | None = None
        self._last = started
        self._new: list[Output] = []

    @property
    def pending(self) -> int:
        """Tokens that are to be read before the next can be chosen."""
        return len(self.tokens) - self.read

    @property
    def count(self) -> int:
        """Tokens of the reply."""
        return len(self.tokens) - self._prompt

    @property
    def left(self) -> int:
        """Tokens that the reply may still get."""
        return self._limit - self.count

    @property
    def room(self) -> int:
        """Tokens that it may have in the end."""
        return self._prompt + self._limit

    def follow(self) -> None:
        """Append what the constraint forces, and end where it ends. To be called before anything is read."""
        constraint = self._constraint
        if constraint is None:
            return
        if constraint.finished():
            self.finish("stop")
            return
        while forced := constraint.forced():
            for token in forced:
                if token in self._stop_ids:
                    self.finish("stop")
                    return
                self._append(token, None)
                if self.left <= 0:
                    self.finish("length")
                    return
            if constraint.finished():
                self.finish("stop")
                return

    def propose(self, most: int) -> None:
        """Guess up to `most` tokens."""
        most = min(most, self.left - 1)
        draft = self.speculator.draft(self.tokens, most) if self.speculator is not None else []
        if draft and self._constraint is not None:
            del draft[self._constraint.allowed(draft) :]
        self.draft = draft

    def choose(self, logits: Tensor) -> int:
        """Take the next tokens from `logits` [1 + draft, vocabulary], which may be overwritten: one, what is forced
        behind it, and as long as that is what the draft says, one more from the next row. Gives how many tokens of the
        draft came true."""
        start, draft, row = len(self.tokens), self.draft, 0
        while True:
            self._sample(logits[row])
            if not self.over:
                self.follow()
            added = len(self.tokens) - start
            if self.over or added > len(draft) or self.tokens[start + row :] != draft[row:added]:
                break
            row = added
        accepted = 0
        for token, guess in zip(self.tokens[start:], draft, strict=False):
            if token != guess:
                break
            accepted += 1
        self.read = start + accepted
        self.draft = []
        if draft and self.speculator is not None:
            self.speculator.learn(len(self.tokens), len(draft), accepted)
        return accepted

    def finish(self, reason: FinishReason) -> None:
        """Append the end."""
        usage = Usage(
            prompt_tokens=self._prompt, cached_tokens=min(self.cached or 0, self._prompt), completion_tokens=self.count
        )
        first = self._last if self._first is None else self._first
        timings = Timings(first_token_s=first - self._started, decode_s=self._last - first)
        self._new.append(Finished(reason, usage, timings))
        self.over = True

    def fail(self, error: Exception) -> None:
        """End with `error`, behind what there is already."""
        self.flush()
        self.over = True
        self._send(error)

    def flush(self) -> None:
        """Hand out what is new."""
        if self._new:
            batch, self._new = self._new, []
            self._send(batch)

    def _sample(self, logits: Tensor) -> None:
        kept = logits.clone() if self._request.logprobs else None
        mask = None if self._constraint is None else self._constraint.mask()
        token = self._sampler.sample(logits, mask)
        if token in self._stop_ids:
            self.finish("stop")
            return
        self._append(token, None if kept is None else logprob(kept, token))
        if self.left <= 0:
            self.finish("length")

    def _append(self, token: int, probability: float | None) -> None:
        self.tokens.append(token)
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
        self._sampler.accept(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        self._new.append(Token(token, probability))

    def _send(self, batch: Batch) -> None:
        try:
            self._emit(batch)
        except RuntimeError:
            # The listener's event loop is closed: nobody is left to tell.
            self.cancelled = True
