"""Choosing a token from logits: penalties, temperature, cuts, masks. One tensor operation at a time, no loops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from openhearth.types import Sampling

_Floats = np.ndarray[tuple[int], np.dtype[np.float32]]

_FEW = 16
"""One token in so many, or fewer, are few."""
_CANDIDATES = 1024
"""Sorting a vocabulary of 150,000 takes ten milliseconds; the cuts nearly always fall within the first thousand."""


class Sampler:
    """Draws the tokens of one request. The same seed and logits give the same tokens, whatever else is going on.

    The order is Hugging Face's: repetition penalty, temperature, top-k, top-p, min-p; the mask comes before the cuts,
    so that they share out what is allowed. One uniform number is drawn for each token.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int]) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed % (1 << 63))
        self._seen = set(prompt) if sampling.repetition_penalty != 1.0 else set()

    def accept(self, token: int) -> None:
        """`token` was appended; the repetition penalty counts it from now on."""
        if self._sampling.repetition_penalty != 1.0:
            self._seen.add(token)

    def sample(self, logits: Tensor, mask: Tensor | None = None) -> int:
        """The next token from `logits` [vocabulary], which may be overwritten. `mask` is a `Constraint.mask`.

        Tokens beyond the mask's end are not allowed. At least one must be.
        """
        logits = logits.float().cpu()
        if self._seen:
            self._penalise(logits)
        if mask is not None:
            _restrict(logits.numpy(), mask)
        if self._sampling.temperature == 0:
            # NumPy keeps to this thread: torch would wake all its helpers for a few microseconds of work.
            return int(logits.numpy().argmax())
        return self._draw(logits.div_(self._sampling.temperature))

    def _penalise(self, logits: Tensor) -> None:
        ids = torch.tensor(sorted(self._seen))
        values = logits[ids]
        penalty = self._sampling.repetition_penalty
        logits[ids] = torch.where(values > 0, values / penalty, values * penalty)

    def _draw(self, logits: Tensor) -> int:
        s = self._sampling
        uniform = torch.rand((), generator=self._generator, dtype=torch.float64)
        if s.top_k == 0 and s.top_p == 1.0 and s.min_p == 0.0:
            return _pick(torch.softmax(logits, -1), uniform)
        count = min(s.top_k or _CANDIDATES, logits.shape[0])
        values, ids = logits.topk(count)
        # Probabilities are relative to what top-k left; without top-k, to the whole vocabulary.
        total = (values if s.top_k else logits).double().logsumexp(-1)
        probabilities = (values.double() - total).exp_()
        # Did the cuts fall within the candidates? Else take everything.
        reached = probabilities.sum() >= s.top_p or probabilities[-1] < s.min_p * probabilities[0]
        if not s.top_k and count < logits.shape[0] and not reached:
            values, ids = logits.sort(descending=True)
            probabilities = (values.double() - total).exp_()
        # A token is kept while the ones before it do not yet reach top_p; min_p looks at what that left.
        before = probabilities.cumsum(-1) - probabilities
        kept = (before < s.top_p) & (probabilities >= s.min_p * probabilities[0])
        kept[0] = True
        return int(ids[_pick(probabilities.where(kept, 0.0), uniform)])


def logprob(logits: Tensor, token: int) -> float:
    """The natural logarithm of `token`'s probability."""
    return float(logits[token] - logits.logsumexp(-1))


def _pick(probabilities: Tensor, uniform: Tensor) -> int:
    """The index whose share of the sum holds `uniform` of [0, 1)."""
    sums = probabilities.double().cumsum(-1)
    index = int(torch.searchsorted(sums, uniform * sums[-1], right=True))
    return min(index, int(probabilities.nonzero()[-1]))


def _restrict(logits: _Floats, mask: Tensor) -> None:
    """Leave only those logits whose token's bit is set."""
    words = mask.reshape(-1).cpu().numpy().astype(np.int32, copy=False)
    allowed = np.unpackbits(words.view(np.uint8), bitorder="little")[: logits.shape[0]].view(np.bool_)
    logits[allowed.shape[0] :] = -np.inf
    ids = np.flatnonzero(allowed)
    if ids.shape[0] * _FEW < logits.shape[0]:
        # As in most places of a grammar; to go through a whole vocabulary one by one takes a millisecond.
        kept = logits[ids]
        logits.fill(-np.inf)
        logits[ids] = kept
    else:
        np.copyto(logits[: allowed.shape[0]], -np.inf, where=~allowed)
