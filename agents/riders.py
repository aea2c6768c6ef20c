"""What rides along with LangGraph's transactions: guards before them, staged writes and united node writes in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from openhearth.storage import checkpoints
from openhearth.storage.checkpoints import Columns
from openhearth.storage.store import Session, Store

Write = Callable[[Session], None]


class Riders:
    """By LangGraph thread. Nothing here is lost by a transaction that fails: it rides with the next one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._guards: dict[str, Write] = {}
        self._staged: dict[str, list[Write]] = {}
        self._united: dict[str, list[Columns]] = {}

    def stage(self, thread_id: str, write: Write) -> None:
        """See `HearthSaver.stage`."""
        with self._lock:
            self._staged.setdefault(thread_id, []).append(write)

    def guard(self, thread_id: str, check: Write | None) -> None:
        """See `HearthSaver.guard`."""
        with self._lock:
            if check is None:
                self._guards.pop(thread_id, None)
            else:
                self._guards[thread_id] = check

    def unite(self, thread_id: str) -> None:
        """See `HearthSaver.unite`."""
        with self._lock:
            self._united.setdefault(thread_id, [])

    def unites(self, thread_id: str) -> bool:
        """Whether the thread's node writes wait for the checkpoint that follows."""
        return thread_id in self._united

    def put_aside(self, thread_id: str, rows: Sequence[Columns]) -> None:
        """Let these node writes wait."""
        with self._lock:
            self._united[thread_id].extend(rows)

    def node_writes_wait(self, thread_id: str) -> bool:
        """Whether node writes were put aside that no checkpoint followed so far."""
        return bool(self._united.get(thread_id))

    def discard(self, thread_id: str) -> None:
        """See `HearthSaver.discard`."""
        with self._lock:
            self._staged.pop(thread_id, None)
            self._united.pop(thread_id, None)

    @contextmanager
    def transaction(self, thread_id: str, *, durable: bool, replaces_writes: bool = False) -> Iterator[Session]:
        """A write transaction: the guard, what is staged, and what was put aside, then the block.

        It waits for the disk when `durable`, or when anything rides along. With `replaces_writes` the block keeps the
        checkpoint that the waiting node writes lead to, so they need no rows of their own.
        """
        staged: Sequence[Write] = ()
        united: Sequence[Columns] = ()
        riding = bool(self._staged.get(thread_id) or self._united.get(thread_id))
        try:
            with self._store.write(durable=durable or riding) as session:
                # Taken only now, when no other writer can come between them and the commit.
                with self._lock:
                    guard, staged = self._guards.get(thread_id), self._staged.pop(thread_id, ())
                    if thread_id in self._united:
                        united, self._united[thread_id] = self._united[thread_id], []
                if guard is not None:
                    guard(session)
                for write in staged:
                    write(session)
                if not replaces_writes:
                    checkpoints.put_writes(session, united, replace=False)
                yield session
        except BaseException:
            with self._lock:
                if staged:
                    self._staged[thread_id] = [*staged, *self._staged.get(thread_id, ())]
                if united:
                    self._united[thread_id] = [*united, *self._united.get(thread_id, ())]
            raise
