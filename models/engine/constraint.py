"""What steers a generation from outside, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class Constraint(Protocol):
    """Decides which tokens may come next. The engine knows no chat and no tools; a grammar behind this does.

    Asked in this order before each token: `finished`, `forced`, and `mask` only where nothing is forced. Called from
    the engine's thread alone. An exception ends the request with it, and no other.
    """

    def mask(self) -> torch.Tensor | None:
        """Allowed tokens as int32 words, bit i % 32 of word i // 32 set where token i may come; None: any may."""
        ...

    def accept(self, token: int) -> None:
        """`token` was appended, sampled or forced."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens that must come next, appended without sampling and read by the model in one step; may be empty."""
        ...

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, which were guessed, can come next one after another, as far as that shows without
        following them. More than can is harmless: they are then read in vain."""
        ...

    def finished(self) -> bool:
        """The generation ends here."""
        ...
