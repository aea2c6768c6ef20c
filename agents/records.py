"""What is kept, for user interfaces: threads, their history, runs, events and open questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from openhearth.agents import prompt
from openhearth.errors import RunBusyError
from openhearth.events import Event
from openhearth.storage import approvals, events, leases, messages, runs, threads
from openhearth.storage.store import Session, Store
from openhearth.storage.tables import ApprovalRow, RunRow
from openhearth.storage.threads import ThreadSummary
from openhearth.tools.builtin import BUILTIN_TOOLS
from openhearth.types import Message, RunStatus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One message of a thread's current branch, without system prompts and without what the runtime told the model."""

    id: str
    run_id: str | None
    created_at: datetime
    message: Message


class Records:
    """Reads and small changes. Each call is one transaction, off the event loop. Ids may be given in part."""

    store: Store

    async def threads(self, search: str = "", *, limit: int | None = None) -> list[ThreadSummary]:
        """Threads whose title contains every word of `search`, the latest activity first."""
        words = search.casefold().split()
        found = await self._read(lambda session: threads.list(session, limit=None if words else limit))
        return [each for each in found if all(word in each.title.casefold() for word in words)][:limit]

    async def find_thread(self, id_or_part: str) -> str:
        """The whole id. Raises NotFoundError."""
        return await self._read(lambda session: threads.get(session, id_or_part).id)

    async def thread_history(self, thread_id: str) -> list[HistoryEntry]:
        """The thread's current branch, oldest first. Raises NotFoundError."""

        def query(session: Session) -> list[HistoryEntry]:
            rows = messages.path_rows(session, threads.get(session, thread_id).head_id)
            return [
                HistoryEntry(row.id, row.run_id, row.created_at, messages.to_message(row))
                for row in rows
                if row.role != "system" and not prompt.is_from_runtime(messages.to_message(row))
            ]

        return await self._read(query)

    async def rename_thread(self, thread_id: str, title: str) -> None:
        """Raises NotFoundError."""
        await self._write(lambda session: threads.rename(session, threads.get(session, thread_id).id, title))

    async def delete_thread(self, thread_id: str) -> None:
        """Remove it with its runs. Raises NotFoundError, RunBusyError while one of its runs is being executed."""

        def write(session: Session) -> None:
            thread = threads.get(session, thread_id)
            for run in runs.list(session, thread_id=thread.id):
                if run.owner and not leases.is_gone(run.owner):
                    raise RunBusyError(f"{run.id} of this thread is being executed.", hint="Cancel it first.")
            threads.delete(session, thread.id)

        await self._write(write)

    async def runs(
        self,
        *,
        status: RunStatus | Iterable[RunStatus] | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
    ) -> Sequence[RunRow]:
        """Newest first. A status of `running` whose owner is gone is a run to be resumed."""
        return await self._read(lambda session: runs.list(session, status=status, thread_id=thread_id, limit=limit))

    async def run_record(self, run_id: str) -> RunRow:
        """Raises NotFoundError."""
        return await self._read(lambda session: runs.get(session, run_id))

    async def run_messages(self, run_id: str) -> list[Message]:
        """What a run added to its thread: the task, replies and results, without system prompts."""

        def query(session: Session) -> list[Message]:
            run = runs.get(session, run_id)
            rows = messages.tree(session, run.thread_id)
            return [messages.to_message(row) for row in rows if row.run_id == run.id and row.role != "system"]

        return await self._read(query)

    async def run_events(self, run_id: str, after_seq: int = 0) -> list[Event]:
        """What was kept of a run's stream, in order."""
        return await self._read(
            lambda session: [*events.after(session, runs.get(session, run_id).id, after_seq)],
        )

    async def pending_approvals(self, run_id: str | None = None) -> Sequence[ApprovalRow]:
        """Open questions, oldest first; of one run, or of all."""
        return await self._read(
            lambda session: approvals.pending(session, runs.get(session, run_id).id if run_id else None)
        )

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The built-in tools."""
        return BUILTIN_TOOLS

    async def _read(self, query: Callable[[Session], T]) -> T:
        def work() -> T:
            with self.store.read() as session:
                return query(session)

        return await asyncio.to_thread(work)

    async def _write(self, write: Callable[[Session], T]) -> T:
        def work() -> T:
            with self.store.write() as session:
                return write(session)

        return await asyncio.to_thread(work)
