"""What goes into the engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from openhearth.models.engine.constraint import Constraint
from openhearth.types import FinishReason, Sampling, Timings, Usage


@dataclass(slots=True)
class GenerationRequest:
    """Token ids to be continued.

    `deadline`, a `time.monotonic()` value, ends decoding with reason `length`. A token of `stop_ids` ends it with
    reason `stop` and is neither emitted nor counted; None means the model's own end tokens. `logprobs` asks for each
    token's natural logarithm of its probability before temperature, penalties, cuts and masks. `sampling.stop` is for
    whoever makes text of the tokens: the engine does not look at it.
    """

    prompt: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    deadline: float | None = None
    stop_ids: frozenset[int] | None = None
    logprobs: bool = False


@dataclass(slots=True, frozen=True)
class Token:
    """One token of the reply. A forced token has no `logprob`."""

    id: int
    logprob: float | None = None


@dataclass(slots=True, frozen=True)
class Finished:
    """The end of every generation that was neither closed early nor failed."""

    reason: FinishReason
    usage: Usage
    timings: Timings


Output = Token | Finished
