"""Tiny engines, and constraints to steer them with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from support.tiny import tiny_model

from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.models.loading.convert import convert
from openhearth.types import Sampling


def tiny_engine(
    folder: Path, *, context: int = 1024, cache_mb: int | None = 64, speculate: bool = True, **changes: Any
) -> Engine:
    """An engine over a tiny random Llama in float32; it hardly ever stops by itself."""
    tiny_model(folder / "checkpoint", **changes)
    convert(folder / "checkpoint", folder / "store", precision="float32")
    return Engine.load(
        folder / "store", device="cpu", threads=1, context=context, cache_mb=cache_mb, speculate=speculate
    )


def request(prompt: Sequence[int], tokens: int | None = 16, **changes: Any) -> GenerationRequest:
    """Greedy unless `sampling` says otherwise, and no token stops it."""
    changes.setdefault("sampling", Sampling(max_tokens=tokens))
    changes.setdefault("stop_ids", frozenset())
    return GenerationRequest(prompt, **changes)


def collect(engine: Engine, asked: GenerationRequest) -> tuple[list[int], Finished]:
    """All tokens and the end of a generation."""
    *tokens, finished = engine.generate_sync(asked)
    assert isinstance(finished, Finished)
    return [token.id for token in tokens if isinstance(token, Token)], finished


class Script:
    """A constraint that plays a script: a set of ids allows these, a list forces them, None leaves the choice free."""

    def __init__(self, steps: Sequence[set[int] | list[int] | None], vocabulary: int) -> None:
        self.accepted: list[int] = []
        self._steps = list(steps)
        self._vocabulary = vocabulary

    def mask(self) -> torch.Tensor | None:
        step = self._steps[0]
        if step is None:
            return None
        assert isinstance(step, set)
        words = torch.zeros(-(-self._vocabulary // 32), dtype=torch.int64)
        for token in step:
            words[token // 32] |= 1 << (token % 32)
        return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)

    def allowed(self, tokens: Sequence[int]) -> int:
        step = self._steps[0] if self._steps else None
        return len(tokens) if step is None or tokens[0] in step else 0

    def accept(self, token: int) -> None:
        self.accepted.append(token)
        step = self._steps[0]
        if isinstance(step, list):
            assert step[0] == token
            self._steps[0] = step[1:]
            if step[1:]:
                return
        self._steps.pop(0)

    def forced(self) -> Sequence[int]:
        step = self._steps[0] if self._steps else None
        return tuple(step) if isinstance(step, list) else ()

    def finished(self) -> bool:
        return not self._steps
