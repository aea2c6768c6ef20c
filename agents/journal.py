"""Everything that one run writes: each transaction checks the lease first, and events leave only once they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from openhearth.agents.channel import EventChannel
from openhearth.agents.saver import HearthSaver
from openhearth.events import BaseEvent, CallDelta, Event, TextDelta
from openhearth.storage import events, runs
from openhearth.storage.store import Session, Store

T = TypeVar("T")
Write = Callable[[Session], None]


class Journal:
    """The lease that it holds (`owner`, `fence`) goes with every write; without it nothing can be written.

    Transactions run on one thread of their own, in the order in which they were asked for: a busy database never
    stops the event loop, and cancelling whoever waits neither undoes a write nor lets a later one overtake it.
    """

    def __init__(
        self,
        store: Store,
        saver: HearthSaver,
        run_id: str,
        thread_id: str,
        owner: str,
        fence: int,
        channel: EventChannel,
    ) -> None:
        self.run_id = run_id
        self.thread_id = thread_id
        self._store = store
        self._saver = saver
        self._owner = owner
        self._fence = fence
        self.channel = channel
        self._seq = 0
        self._staged: list[Event] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hearth-journal")
        saver.guard(run_id, lambda session: runs.verify(session, run_id, owner, fence))
        saver.unite(run_id)

    async def read(self, query: Callable[[Session], T]) -> T:
        def work() -> T:
            with self._store.read() as session:
                return query(session)

        return await self._in_order(work)

    async def commit(
        self, write: Callable[[Session], T], *happened: Event | Callable[[T], Event], durable: bool = True
    ) -> T:
        """One transaction: `write`, and the events, which may depend on what it returned. Then publish them."""

        def work() -> tuple[T, list[Event]]:
            with self._store.write(durable=durable) as session:
                runs.verify(session, self.run_id, self._owner, self._fence)
                result = write(session)
                told = [event(result) if callable(event) else event for event in happened]
                return result, events.extend(session, told)

        result, kept = await self._in_order(work)
        self._publish(kept)
        return result

    async def commit_last(self, write: Callable[[Session], Iterable[Event]]) -> None:
        """The run's last transaction here: `write`, which returns the events that it appended, and the lease."""

        def work() -> list[Event]:
            with self._store.write() as session:
                runs.verify(session, self.run_id, self._owner, self._fence)
                kept = [*write(session)]
                runs.release(session, self.run_id, self._owner, self._fence)
                return kept

        self._publish(await self._in_order(work))

    def stage(self, write: Callable[[Session], None], *happened: Event) -> None:
        """Put `write` and the events into the transaction that keeps this node's result.

        Call it last in a node. The events are published by the next `flush`.
        """

        def work(session: Session) -> None:
            write(session)
            self._staged = events.extend(session, happened)

        self._saver.stage(self.run_id, work)

    def flush(self) -> None:
        """Publish what was staged; called when its transaction is known to be committed."""
        kept, self._staged = self._staged, []
        self._publish(kept)

    def show(self, delta: TextDelta | CallDelta) -> None:
        """Publish a delta, which is not kept."""
        self.channel.put(delta.model_copy(update={"seq": self._seq}))

    def publish_unkept(self, event: Event) -> None:
        """Publish an event that could not be kept, so that the reader still learns of it."""
        self.channel.put(event)

    async def renew(self, ttl_s: float) -> None:
        def work() -> None:
            with self._store.write(durable=False) as session:
                runs.renew(session, self.run_id, self._owner, self._fence, ttl_s)

        await self._in_order(work)

    def close(self) -> None:
        """Nothing is written any more, and the stream ends."""
        self.channel.close()
        self._saver.discard(self.run_id)
        self._saver.guard(self.run_id, None)
        self._thread.shutdown(wait=False)

    def _publish(self, kept: Iterable[Event]) -> None:
        for event in kept:
            assert isinstance(event, BaseEvent)
            self._seq = event.seq
            self.channel.put(event)

    async def _in_order(self, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            future.exception()  # seen: whoever cancels does not care what became of it
            raise
