"""The tables. Deleting a thread deletes everything that hangs on it.

The checkpoint tables are keyed by LangGraph's own thread id, which is a run's id here but may be anything, so they
carry no foreign key; `threads.delete` clears them by hand.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, MetaData, text
from sqlmodel import Field, SQLModel

from openhearth.storage.columns import JSON, CleanText, String, UtcDateTime, utc_now

LedgerState = Literal["intended", "done", "failed", "resolved"]
ApprovalStatus = Literal["pending", "approved", "denied"]


class Table(SQLModel):
    """Base of the tables. Names of constraints are fixed, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ThreadRow(Table, table=True):
    """A conversation. `head_id` is the message that the next one answers; it has no foreign key, since messages
    refer to threads and a cycle of keys would forbid a plain order of inserts and deletes."""

    __tablename__ = "threads"

    id: str = Field(primary_key=True, sa_type=String)
    title: str = Field(default="", sa_type=CleanText)
    head_id: str | None = Field(default=None, sa_type=String)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)


class RunRow(Table, table=True):
    """One execution on a thread. `owner`, `lease_until` and `fence` say which process may execute it."""

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_status_created_at", "status", "created_at"),)

    id: str = Field(primary_key=True, sa_type=String)
    thread_id: str = Field(foreign_key="threads.id", ondelete="CASCADE", sa_type=String, index=True)
    task: str = Field(sa_type=CleanText)
    status: str = Field(default="queued", sa_type=String)
    agent: dict[str, Any] = Field(sa_type=JSON)
    output: str = Field(default="", sa_type=CleanText)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    usage: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    steps: int = 0
    tool_calls: int = 0
    duration_s: float = 0.0
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner: str | None = Field(default=None, sa_type=String)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    fence: int = 0


class MessageRow(Table, table=True):
    """One message of a thread's tree; rows are only ever added. `depth` counts from 0 at a root.

    `parent_id` does not cascade: SQLite limits how deep cascades may nest, and a thread's rows go all at once.
    """

    __tablename__ = "messages"

    id: str = Field(primary_key=True, sa_type=String)
    thread_id: str = Field(foreign_key="threads.id", ondelete="CASCADE", sa_type=String, index=True)
    parent_id: str | None = Field(default=None, foreign_key="messages.id", sa_type=String, index=True)
    run_id: str | None = Field(default=None, foreign_key="runs.id", ondelete="SET NULL", sa_type=String, index=True)
    depth: int = 0
    role: str = Field(sa_type=String)
    body: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class StepRow(Table, table=True):
    """One node's execution. `attempts` grows when a crash makes it run again."""

    __tablename__ = "steps"

    run_id: str = Field(primary_key=True, foreign_key="runs.id", ondelete="CASCADE", sa_type=String)
    number: int = Field(primary_key=True)
    node: str = Field(sa_type=String)
    attempts: int = 1
    started_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    usage: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))


class EventRow(Table, table=True):
    """One persisted event; `body` is the whole of it."""

    __tablename__ = "events"

    run_id: str = Field(primary_key=True, foreign_key="runs.id", ondelete="CASCADE", sa_type=String)
    seq: int = Field(primary_key=True)
    type: str = Field(sa_type=String)
    body: dict[str, Any] = Field(sa_type=JSON)


class LedgerRow(Table, table=True):
    """One tool call: what was intended, and what came of it."""

    __tablename__ = "ledger"
    __table_args__ = (CheckConstraint("(state = 'intended') = (output IS NULL)", name="outcome"),)

    run_id: str = Field(primary_key=True, foreign_key="runs.id", ondelete="CASCADE", sa_type=String)
    call_id: str = Field(primary_key=True, sa_type=String)
    step: int
    name: str = Field(sa_type=String)
    arguments: dict[str, Any] = Field(sa_type=JSON)
    annotations: dict[str, Any] = Field(sa_type=JSON)
    idempotency_key: str = Field(sa_type=String)
    state: str = Field(default="intended", sa_type=String)
    attempts: int = 1
    output: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    duration_s: float | None = None
    note: str = Field(default="", sa_type=CleanText)
    intended_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApprovalRow(Table, table=True):
    """A question to a person about one call, and the answer. A call has at most one open question."""

    __tablename__ = "approvals"
    __table_args__ = (
        Index(
            "uq_approvals_pending",
            "run_id",
            "call_id",
            unique=True,
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )

    id: str = Field(primary_key=True, sa_type=String)
    run_id: str = Field(foreign_key="runs.id", ondelete="CASCADE", sa_type=String, index=True)
    call_id: str = Field(sa_type=String)
    call: dict[str, Any] = Field(sa_type=JSON)
    preview: str = Field(default="", sa_type=CleanText)
    in_doubt: bool = False
    status: str = Field(default="pending", sa_type=String)
    arguments: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    reason: str = Field(default="", sa_type=CleanText)
    by: str = Field(default="", sa_type=CleanText)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CheckpointRow(Table, table=True):
    """A checkpoint without its channel values; those are blobs under the versions that `body` names."""

    __tablename__ = "checkpoints"
    __table_args__ = ({"sqlite_with_rowid": False},)

    thread_id: str = Field(primary_key=True, sa_type=String)
    namespace: str = Field(primary_key=True, sa_type=String)
    id: str = Field(primary_key=True, sa_type=String)
    parent_id: str | None = Field(default=None, sa_type=String)
    run_id: str | None = Field(default=None, sa_type=String, index=True)
    kind: str = Field(sa_type=String)
    body: bytes = Field(sa_type=LargeBinary)
    details: dict[str, Any] = Field(sa_type=JSON)


class CheckpointBlobRow(Table, table=True):
    """One channel's value at one version, shared by all checkpoints that saw it."""

    __tablename__ = "checkpoint_blobs"
    __table_args__ = ({"sqlite_with_rowid": False},)

    thread_id: str = Field(primary_key=True, sa_type=String)
    namespace: str = Field(primary_key=True, sa_type=String)
    channel: str = Field(primary_key=True, sa_type=String)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(sa_type=String)
    data: bytes = Field(sa_type=LargeBinary)


class CheckpointWriteRow(Table, table=True):
    """What one task wrote after a checkpoint and before the next one."""

    __tablename__ = "checkpoint_writes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    thread_id: str = Field(primary_key=True, sa_type=String)
    namespace: str = Field(primary_key=True, sa_type=String)
    checkpoint_id: str = Field(primary_key=True, sa_type=String)
    task_id: str = Field(primary_key=True, sa_type=String)
    idx: int = Field(primary_key=True)
    task_path: str = Field(default="", sa_type=String)
    channel: str = Field(sa_type=String)
    kind: str = Field(sa_type=String)
    data: bytes = Field(sa_type=LargeBinary)
