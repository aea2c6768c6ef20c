"""Cancelling a run without tearing a transaction: only the model's stream and a running tool can be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from openhearth.errors import CancelledError

T = TypeVar("T")


class OutOfTime(Exception):
    """What was guarded did not end in time, and has been stopped."""


class CancelScope:
    """`cancel` stops what is guarded now, or the next thing that would be."""

    def __init__(self) -> None:
        self._work: asyncio.Task[Any] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        if self._work is not None:
            self._work.cancel()

    def check(self) -> None:
        """Raise CancelledError when the run was cancelled."""
        if self.cancelled:
            raise CancelledError("The run was cancelled.")

    async def guard(self, work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """The result of `work`. Raises CancelledError when cancelled meanwhile, OutOfTime after `timeout_s`.

        Either way `work` has ended when this returns. Used by one node at a time.
        """
        if self.cancelled:
            work.close()
        self.check()
        self._work = task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
            if not done:
                await _stop(task)
        except asyncio.CancelledError:
            await _stop(task)
            raise
        finally:
            self._work = None
        if task.cancelled():
            self.check()
            raise OutOfTime
        return task.result()


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Closes the iterator at the end, which for a model's stream stops the model."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # seen: it ended while it was being stopped
