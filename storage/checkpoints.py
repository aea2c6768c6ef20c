"""Checkpoints as bytes: what changed at each step, and the channel values that steps share.

The caller serialises. A thread here is the graph runtime's thread, a run of ours. Checkpoint ids sort by time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import delete, insert, literal, tuple_, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from openhearth.storage import statements
from openhearth.storage.tables import CheckpointBlobRow, CheckpointRow, CheckpointWriteRow

Columns = Mapping[str, Any]

_TABLES = (CheckpointRow, CheckpointBlobRow, CheckpointWriteRow)


def put(session: Session, checkpoint: Columns, blobs: Sequence[Columns]) -> None:
    """Keep a checkpoint and the channel values that are new with it. The same key again replaces it.

    The arguments are columns of CheckpointRow and CheckpointBlobRow, all of them.
    """
    statements.add(session, CheckpointRow, [checkpoint], on_conflict="replace")
    statements.add(session, CheckpointBlobRow, blobs, on_conflict="replace")


def put_writes(session: Session, writes: Sequence[Columns], *, replace: bool) -> None:
    """Keep what a task wrote, as columns of CheckpointWriteRow. What is there already stays, unless `replace`."""
    statements.add(session, CheckpointWriteRow, writes, on_conflict="replace" if replace else "keep")


def get(session: Session, thread_id: str, namespace: str, checkpoint_id: str | None = None) -> CheckpointRow | None:
    """One checkpoint: the given one, or the newest."""
    query = select(CheckpointRow).where(
        col(CheckpointRow.thread_id) == thread_id, col(CheckpointRow.namespace) == namespace
    )
    if checkpoint_id is not None:
        query = query.where(col(CheckpointRow.id) == checkpoint_id)
    return session.exec(query.order_by(col(CheckpointRow.id).desc()).limit(1)).first()


def list(  # noqa: A001
    session: Session,
    *,
    thread_id: str | None = None,
    namespace: str | None = None,
    checkpoint_id: str | None = None,
    before: str | None = None,
    details: dict[str, Any] | None = None,
    limit: int | None = None,
) -> Sequence[CheckpointRow]:
    """Checkpoints, newest first. `details` must all be equal to the checkpoint's own."""
    query = select(CheckpointRow).order_by(col(CheckpointRow.id).desc())
    if thread_id is not None:
        query = query.where(col(CheckpointRow.thread_id) == thread_id)
    if namespace is not None:
        query = query.where(col(CheckpointRow.namespace) == namespace)
    if checkpoint_id is not None:
        query = query.where(col(CheckpointRow.id) == checkpoint_id)
    if before is not None:
        query = query.where(col(CheckpointRow.id) < before)
    if not details:
        return session.exec(query.limit(limit)).all()
    rows = session.exec(query.execution_options(yield_per=100))
    matching = (row for row in rows if details.items() <= row.details.items())
    return [*islice(matching, limit)]


def blobs(
    session: Session, thread_id: str, namespace: str, versions: Collection[tuple[str, int]]
) -> Sequence[CheckpointBlobRow]:
    """The channel values under these (channel, version) pairs; those that are not there are left out."""
    if not versions:
        return []
    return session.exec(
        select(CheckpointBlobRow).where(
            col(CheckpointBlobRow.thread_id) == thread_id,
            col(CheckpointBlobRow.namespace) == namespace,
            tuple_(col(CheckpointBlobRow.channel), col(CheckpointBlobRow.version)).in_(versions),
        )
    ).all()


def writes(session: Session, thread_id: str, namespace: str, checkpoint_id: str) -> Sequence[CheckpointWriteRow]:
    """What tasks wrote after this checkpoint, in the order in which they are applied."""
    return session.exec(
        select(CheckpointWriteRow)
        .where(
            col(CheckpointWriteRow.thread_id) == thread_id,
            col(CheckpointWriteRow.namespace) == namespace,
            col(CheckpointWriteRow.checkpoint_id) == checkpoint_id,
        )
        .order_by(col(CheckpointWriteRow.task_path), col(CheckpointWriteRow.task_id), col(CheckpointWriteRow.idx))
    ).all()


def delete_threads(session: Session, thread_ids: Collection[str]) -> None:
    """Remove everything of these threads."""
    if not thread_ids:
        return
    for table in _TABLES:
        session.execute(delete(table).where(col(table.thread_id).in_(thread_ids)))


def delete_of_runs(session: Session, run_ids: Collection[str]) -> Collection[tuple[str, str]]:
    """Remove the checkpoints that these runs made, with their writes, and return the (thread, namespace) pairs met.

    Channel values stay; the caller knows which are still used. Children lose their parent.
    """
    touched: set[tuple[str, str]] = set()
    for row in session.exec(select(CheckpointRow).where(col(CheckpointRow.run_id).in_(run_ids))).all():
        touched.add((row.thread_id, row.namespace))
        _delete(session, row)
    return touched


def keep_latest(session: Session, thread_id: str) -> Collection[str]:
    """Remove all but the newest checkpoint of each namespace, and return the namespaces. Channel values stay."""
    latest: dict[str, CheckpointRow] = {}
    for row in list(session, thread_id=thread_id):
        if latest.setdefault(row.namespace, row) is not row:
            _delete(session, row)
    return latest.keys()


def keep_blobs(session: Session, thread_id: str, namespace: str, used: Collection[tuple[str, int]]) -> None:
    """Remove the namespace's channel values except those under these (channel, version) pairs."""
    where = (col(CheckpointBlobRow.thread_id) == thread_id, col(CheckpointBlobRow.namespace) == namespace)
    present = session.execute(select(CheckpointBlobRow.channel, CheckpointBlobRow.version).where(*where)).all()
    for channel, version in present:
        if (channel, version) not in used:
            this = (col(CheckpointBlobRow.channel) == channel, col(CheckpointBlobRow.version) == version)
            statements.run(session, delete(CheckpointBlobRow).where(*where, *this))


def copy_thread(session: Session, source: str, target: str) -> None:
    """Copy everything of one thread to another, which must not have the same checkpoints yet."""
    for table in _TABLES:
        columns = [*table.model_fields]
        values = [literal(target) if name == "thread_id" else getattr(table, name) for name in columns]
        copied = sql_select(*values).where(col(table.thread_id) == source)
        session.connection().execute(insert(table).from_select(columns, copied))


def _delete(session: Session, row: CheckpointRow) -> None:
    statements.run(
        session,
        delete(CheckpointWriteRow).where(
            col(CheckpointWriteRow.thread_id) == row.thread_id,
            col(CheckpointWriteRow.namespace) == row.namespace,
            col(CheckpointWriteRow.checkpoint_id) == row.id,
        ),
    )
    here = (col(CheckpointRow.thread_id) == row.thread_id, col(CheckpointRow.namespace) == row.namespace)
    statements.run(session, delete(CheckpointRow).where(*here, col(CheckpointRow.id) == row.id))
    statements.run(
        session, update(CheckpointRow).where(*here, col(CheckpointRow.parent_id) == row.id).values(parent_id=None)
    )
