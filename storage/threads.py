"""Threads: conversations, each with a tree of messages and a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete as sql_delete
from sqlmodel import Session, col, func, select

from openhearth.errors import NotFoundError
from openhearth.storage import checkpoints, statements
from openhearth.storage.columns import utc_now
from openhearth.storage.ids import new_id
from openhearth.storage.lookup import find, not_found
from openhearth.storage.tables import MessageRow, RunRow, ThreadRow

_TITLE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A thread as a list shows it. `messages` counts all branches; `last_status` is its newest run's."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    messages: int
    runs: int
    last_status: str | None


def create(session: Session, *, title: str = "") -> ThreadRow:
    """A new, empty thread. A long title is cut to one line."""
    row = ThreadRow(id=new_id("thr"), title=_one_line(title))
    session.add(row)
    session.flush()
    return row


def get(session: Session, id_or_part: str) -> ThreadRow:
    """The thread with this id, or with this unique part of one. Raises NotFoundError."""
    return find(session, ThreadRow, "thr", id_or_part)


def list(session: Session, *, limit: int | None = None, offset: int = 0) -> Sequence[ThreadSummary]:  # noqa: A001
    """Threads, the one with the latest activity first."""
    messages = (
        select(func.count())
        .where(col(MessageRow.thread_id) == col(ThreadRow.id))
        .correlate(ThreadRow)
        .scalar_subquery()
    )
    runs = select(func.count()).where(col(RunRow.thread_id) == col(ThreadRow.id)).correlate(ThreadRow).scalar_subquery()
    last_status = (
        select(RunRow.status)
        .where(col(RunRow.thread_id) == col(ThreadRow.id))
        .order_by(col(RunRow.id).desc())
        .limit(1)
        .correlate(ThreadRow)
        .scalar_subquery()
    )
    query = (
        select(ThreadRow, messages, runs, last_status)
        .order_by(col(ThreadRow.updated_at).desc(), col(ThreadRow.id).desc())
        .offset(offset)
        .limit(limit)
    )
    return [
        ThreadSummary(
            id=row.id,
            title=row.title,
            created_at=row.created_at,
            updated_at=row.updated_at,
            messages=message_count,
            runs=run_count,
            last_status=status,
        )
        for row, message_count, run_count, status in session.exec(query)
    ]


def rename(session: Session, thread_id: str, title: str) -> None:
    """Give the thread another title. Raises NotFoundError."""
    _update(session, thread_id, title=_one_line(title))


def set_head(session: Session, thread_id: str, message_id: str | None) -> None:
    """Continue the thread from this message; None starts a new root. Raises NotFoundError for another thread's."""
    if message_id is not None:
        owner = statements.values(session, MessageRow, ("thread_id",), {"id": message_id})
        if owner is None or owner[0] != thread_id:
            raise NotFoundError(f"The thread {thread_id} has no message {message_id}.")
    _update(session, thread_id, head_id=message_id, updated_at=utc_now())


def delete(session: Session, thread_id: str) -> None:
    """Remove the thread and everything that hangs on it, checkpoints included. Raises NotFoundError."""
    runs = session.exec(select(RunRow.id).where(col(RunRow.thread_id) == thread_id)).all()
    checkpoints.delete_threads(session, runs)
    if statements.run(session, sql_delete(ThreadRow).where(col(ThreadRow.id) == thread_id)) == 0:
        raise not_found("thr", thread_id)


def _update(session: Session, thread_id: str, **values: object) -> None:
    if statements.change(session, ThreadRow, {"id": thread_id}, values) == 0:
        raise not_found("thr", thread_id)


def _one_line(title: str) -> str:
    title = " ".join(title.split())
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"
