"""The seam between whoever asks a model and whatever answers: one small protocol for every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from openhearth.types import ModelInfo, ModelRequest, Piece

ProgressCallback = Callable[[str, int, int], None]
"""`(what, done, total)`: what is going on in words, units done, units in all (0: unknown). Called from any thread."""


class Model(Protocol):
    """Answers requests for one model reference.

    `stream` yields pieces and ends with exactly one `Reply`. Closing the iterator early cancels the request within
    one token and frees what it held. Errors are `openhearth.errors.ModelError`s.
    """

    @property
    def info(self) -> ModelInfo: ...

    async def count_tokens(self, request: ModelRequest) -> int | None:
        """Tokens of the rendered prompt, tools included, exactly; None where only the server could tell."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[Piece]: ...

    async def aclose(self) -> None: ...
