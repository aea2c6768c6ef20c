"""Messages: an append-only tree per thread. An answer to an older message makes a branch; nothing is overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from openhearth.errors import NotFoundError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.ids import new_id
from openhearth.storage.tables import MessageRow, ThreadRow
from openhearth.types import Message

T = TypeVar("T")


def add(
    session: Session,
    thread_id: str,
    parent_id: str | None,
    message: Message,
    run_id: str | None = None,
    *,
    message_id: str | None = None,
) -> str:
    """Append `message` below `parent_id` (None: a new root) and return its id. The thread's head does not move.

    `message_id` is one that `new_id("msg")` made, for who must know it before the transaction.
    Raises NotFoundError when the parent is not a message of this thread.
    """
    depth = 0
    if parent_id is not None:
        parent = session.execute(
            select(MessageRow.thread_id, MessageRow.depth).where(col(MessageRow.id) == parent_id)
        ).first()
        if parent is None or parent[0] != thread_id:
            raise NotFoundError(f"The thread {thread_id} has no message {parent_id}.")
        depth = parent[1] + 1
    message_id = message_id or new_id("msg")
    now = utc_now()
    row = {
        "id": message_id,
        "thread_id": thread_id,
        "parent_id": parent_id,
        "run_id": run_id,
        "depth": depth,
        "role": message.role,
        "body": message.model_dump(mode="json", exclude_defaults=True),
        "created_at": now,
    }
    statements.add(session, MessageRow, [row])
    statements.change(session, update(ThreadRow).where(col(ThreadRow.id) == thread_id).values(updated_at=now))
    return message_id


def get(session: Session, message_id: str) -> MessageRow:
    """One row. Raises NotFoundError."""
    row = session.get(MessageRow, message_id)
    if row is None:
        raise NotFoundError(f"No message is named {message_id!r}.")
    return row


def path(session: Session, head_id: str | None) -> list[Message]:
    """The conversation that ends in `head_id`, root first. None is the empty one. Raises NotFoundError."""
    return [Message.model_validate(body) for body in _path(session, head_id, select(MessageRow.body))]


def path_rows(session: Session, head_id: str | None) -> Sequence[MessageRow]:
    """The rows of `path`, for whoever needs their ids."""
    return _path(session, head_id, select(MessageRow))


def tree(session: Session, thread_id: str) -> Sequence[MessageRow]:
    """All messages of a thread, parents before children, older before younger."""
    return session.exec(
        select(MessageRow)
        .where(col(MessageRow.thread_id) == thread_id)
        .order_by(col(MessageRow.depth), col(MessageRow.id))
    ).all()


def to_message(row: MessageRow) -> Message:
    """The value that the row holds."""
    return Message.model_validate(row.body)


def _path(session: Session, head_id: str | None, query: SelectOfScalar[T]) -> Sequence[T]:
    if head_id is None:
        return []
    links = select(MessageRow.id, MessageRow.parent_id)
    chain = links.where(col(MessageRow.id) == head_id).cte("chain", recursive=True)
    chain = chain.union_all(links.where(col(MessageRow.id) == chain.c.parent_id))
    query = query.join(chain, col(MessageRow.id) == chain.c.id).order_by(col(MessageRow.depth))
    found = session.exec(query).all()
    if not found:
        raise NotFoundError(f"No message is named {head_id!r}.")
    return found
