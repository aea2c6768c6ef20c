"""Notices a model that makes the same call again and gets the same result again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from openhearth.types import Sampling, ToolCall, ToolOutput

REMEMBERED = 16
"""Calls that are remembered; a longer cycle is ended by the budget."""

PUSH = 0.8
"""The sampling temperature after a repeated call. A model that decodes greedily would make it for ever."""


def fingerprint(call: ToolCall, output: ToolOutput) -> str:
    """Equal for equal calls with equal results."""
    text = json.dumps([call.name, call.arguments, output.content, output.ok], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def remember(recent: Sequence[str], call: ToolCall, output: ToolOutput) -> tuple[list[str], int]:
    """The new memory, and how many times this call had this result before.

    A call that changed files is progress: what came before may rightly be tried again.
    """
    mark = fingerprint(call, output)
    known = [] if output.changes else [*recent]
    return [*known, mark][-REMEMBERED:], known.count(mark)


def pushed(sampling: Sampling, round_: int) -> Sampling:
    """`sampling` for the round after a repeated call: warm enough to leave the rut, and seeded, so that a run whose
    own sampling is repeatable stays so."""
    if sampling.temperature >= PUSH:
        return sampling
    seed = round_ if sampling.seed is None and sampling.temperature == 0 else sampling.seed
    return sampling.model_copy(update={"temperature": PUSH, "seed": seed})
