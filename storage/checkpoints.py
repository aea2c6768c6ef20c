"""Checkpoints as bytes: what changed at each step, and the channel values that steps share.

The caller serialises. A thread here is the graph runtime's thread, a run of ours. Checkpoint ids sort by time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import delete, tuple_
from sqlmodel import Session, col, select

from openhearth.storage import statements
from openhearth.storage.tables import CheckpointBlobRow, CheckpointRow, CheckpointWriteRow

_Checkpoint = (CheckpointRow, CheckpointBlobRow, CheckpointWriteRow)


def put(session: Session, checkpoint: CheckpointRow, blobs: Iterable[CheckpointBlobRow]) -> None:
    """Keep a checkpoint and the channel values that are new with it. The same key again replaces it."""
    statements.add(session, CheckpointRow, [checkpoint.model_dump()], on_conflict="replace")
    statements.add(session, CheckpointBlobRow, [blob.model_dump() for blob in blobs], on_conflict="replace")


def put_writes(session: Session, writes: Iterable[CheckpointWriteRow], *, replace: bool) -> None:
    """Keep what a task wrote. A write that is there already stays, unless `replace`."""
    statements.add(
        session,
        CheckpointWriteRow,
        [write.model_dump() for write in writes],
        on_conflict="replace" if replace else "keep",
    )


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
    session: Session, thread_id: str, namespace: str, versions: Collection[tuple[str, str]]
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
    for table in _Checkpoint:
        session.execute(delete(table).where(col(table.thread_id).in_(thread_ids)))
