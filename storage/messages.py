"""Messages: an append-only tree per thread. An answer to an older message makes a branch; nothing is overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Insert, Select, bindparam, case, insert, select, update
from sqlmodel import Session, col
from sqlmodel import select as select_rows

from openhearth.errors import NotFoundError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.ids import new_id
from openhearth.storage.tables import MessageRow, ThreadRow
from openhearth.types import Message


def add(
    session: Session,
    thread_id: str,
    parent_id: str | None,
    message: Message,
    run_id: str | None = None,
    *,
    message_id: str | None = None,
    advance: bool = False,
) -> str:
    """Append `message` below `parent_id` (None: a new root) and return its id.

    With `advance` the thread's head moves to it if the head is the parent; otherwise it stays. `message_id` is one that
    `new_id("msg")` made, for who must know it before the transaction. Raises NotFoundError when the parent is not a
    message of this thread.
    """
    message_id = message_id or new_id("msg")
    now = utc_now()
    row = {
        "id": message_id,
        "thread_id": thread_id,
        "parent_id": parent_id,
        "run_id": run_id,
        "role": message.role,
        "body": message.model_dump(mode="json", exclude_defaults=True),
        "created_at": now,
    }
    if parent_id is None:
        statements.add(session, MessageRow, [row | {"depth": 0}])
    elif statements.run(session, _ANSWER, row) == 0:
        raise NotFoundError(f"The thread {thread_id} has no message {parent_id}.")
    touched = {"thread": thread_id, "parent": parent_id, "message": message_id, "now": now}
    statements.run(session, _ADVANCE if advance else _TOUCH, touched)
    return message_id


def message(session: Session, message_id: str) -> Message:
    """One message. Raises NotFoundError."""
    found = statements.values(session, MessageRow, ("body",), {"id": message_id})
    if found is None:
        raise NotFoundError(f"No message is named {message_id!r}.")
    return Message.model_validate(found[0])


def path(session: Session, head_id: str | None) -> list[Message]:
    """The conversation that ends in `head_id`, root first. None is the empty one. Raises NotFoundError."""
    return [] if head_id is None else [Message.model_validate(body) for _, body in _walk(session, head_id, _BODIES)]


def path_after(session: Session, ancestor_id: str, head_id: str) -> list[Message]:
    """The part of `path(head_id)` that comes after `ancestor_id`, for whoever knows the rest.

    Raises NotFoundError when `ancestor_id` is not on the path.
    """
    if head_id == ancestor_id:
        return []
    found = _walk(session, head_id, _BODIES, stop=ancestor_id)
    if found[0][0] != ancestor_id:
        raise NotFoundError(f"{ancestor_id} does not lead to {head_id}.")
    return [Message.model_validate(body) for _, body in found]


def path_rows(session: Session, head_id: str | None) -> Sequence[MessageRow]:
    """The rows of `path`, for whoever needs their ids."""
    return [] if head_id is None else [row for (row,) in _walk(session, head_id, _ROWS)]


def tree(session: Session, thread_id: str) -> Sequence[MessageRow]:
    """All messages of a thread, parents before children, older before younger."""
    return session.exec(
        select_rows(MessageRow)
        .where(col(MessageRow.thread_id) == thread_id)
        .order_by(col(MessageRow.depth), col(MessageRow.id))
    ).all()


def to_message(row: MessageRow) -> Message:
    """The value that the row holds."""
    return Message.model_validate(row.body)


_M = statements.columns_of(MessageRow)
_T = statements.columns_of(ThreadRow)


def _walk(session: Session, head_id: str, query: Select[Any], *, stop: str = "") -> Sequence[Any]:
    """The rows from below `stop`, or from the root, down to the head."""
    found = session.execute(query, {"head": head_id, "stop": stop}).all()
    if not found:
        raise NotFoundError(f"No message is named {head_id!r}.")
    return found


def _path_of(*wanted: Any) -> Select[Any]:
    links = select(_M.c.id, _M.c.parent_id)
    chain = links.where(_M.c.id == bindparam("head")).cte("chain", recursive=True)
    chain = chain.union_all(links.where(_M.c.id == chain.c.parent_id, _M.c.id != bindparam("stop")))
    return select(*wanted).join(chain, _M.c.id == chain.c.id).order_by(_M.c.depth)


def _answer() -> Insert:
    """Takes the depth from the parent, and inserts nothing when the thread has no such parent."""
    parent = _M.alias("parent")
    names = [column.name for column in _M.columns if column.name != "depth"]
    source = select(*(statements.parameter(_M, name) for name in names), parent.c.depth + 1).where(
        parent.c.id == statements.parameter(_M, "parent_id"),
        parent.c.thread_id == statements.parameter(_M, "thread_id"),
    )
    return insert(_M).from_select([*names, "depth"], source)


_BODIES = _path_of(_M.c.parent_id, _M.c.body)
_ROWS = _path_of(MessageRow)
_ANSWER = _answer()
_TOUCH = update(_T).where(_T.c.id == bindparam("thread")).values(updated_at=bindparam("now"))
_ADVANCE = _TOUCH.values(
    head_id=case((_T.c.head_id.is_not_distinct_from(bindparam("parent")), bindparam("message")), else_=_T.c.head_id)
)
