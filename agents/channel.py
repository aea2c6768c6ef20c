"""Carries a run's events from the graph to whoever reads them.

The graph never waits for a slow reader: the queue is unbounded, but text that waits in it is joined, so what it holds
is bounded by the length of the replies. Nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from openhearth.events import CallDelta, Event, TextDelta


class EventChannel:
    """One writer, one reader, in one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        joined = _join(self._events[-1], event) if self._events else None
        if joined is None:
            self._events.append(event)
        else:
            self._events[-1] = joined
        self._changed.set()

    def close(self) -> None:
        """No event follows; the reader ends after those that wait."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


def _join(last: Event, new: Event) -> Event | None:
    """Both as one delta, or None when they do not continue one another."""
    if isinstance(last, TextDelta) and isinstance(new, TextDelta):
        return new.model_copy(update={"text": last.text + new.text})
    if isinstance(last, CallDelta) and isinstance(new, CallDelta) and last.index == new.index:
        return new.model_copy(update={"text": last.text + new.text, "name": new.name or last.name})
    return None
