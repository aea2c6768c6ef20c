"""Runs: executions on a thread, what became of them, and who may execute them now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from openhearth.errors import NotFoundError, RunBusyError
from openhearth.storage import leases, statements
from openhearth.storage.columns import utc_now
from openhearth.storage.ids import new_id
from openhearth.storage.lookup import find, not_found
from openhearth.storage.tables import RunRow
from openhearth.types import FINAL_STATUSES, ErrorInfo, RunStatus, Usage


def create(
    session: Session, thread_id: str, task: str, agent: dict[str, Any], *, status: RunStatus = "queued"
) -> RunRow:
    """A new run. `agent` is everything that executing it again needs, as JSON."""
    row = RunRow(id=new_id("run"), thread_id=thread_id, task=task, agent=agent, status=status)
    session.add(row)
    session.flush()
    return row


def get(session: Session, id_or_part: str) -> RunRow:
    """The run with this id, or with this unique part of one. Raises NotFoundError."""
    return find(session, RunRow, "run", id_or_part)


def list(  # noqa: A001
    session: Session,
    *,
    status: RunStatus | Iterable[RunStatus] | None = None,
    thread_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[RunRow]:
    """Runs, newest first."""
    query = select(RunRow).order_by(col(RunRow.id).desc()).offset(offset).limit(limit)
    if status is not None:
        query = query.where(col(RunRow.status).in_([status] if isinstance(status, str) else [*status]))
    if thread_id is not None:
        query = query.where(col(RunRow.thread_id) == thread_id)
    return session.exec(query).all()


def update(
    session: Session,
    run_id: str,
    *,
    status: RunStatus | None = None,
    output: str | None = None,
    error: ErrorInfo | None = None,
    usage: Usage | None = None,
    steps: int | None = None,
    tool_calls: int | None = None,
    duration_s: float | None = None,
) -> None:
    """Change what is given. A status clears or sets `error` and `finished_at` to fit. Raises NotFoundError."""
    values: dict[str, Any] = {"updated_at": utc_now()}
    if status is not None:
        values |= {
            "status": status,
            "error": None,
            "finished_at": values["updated_at"] if status in FINAL_STATUSES else None,
        }
    if error is not None:
        values["error"] = error.model_dump(mode="json")
    if usage is not None:
        values["usage"] = usage.model_dump(mode="json")
    given = {"output": output, "steps": steps, "tool_calls": tool_calls, "duration_s": duration_s}
    values |= {name: value for name, value in given.items() if value is not None}
    _write(session, run_id, values)


def acquire(session: Session, run_id: str, owner: str, ttl_s: float) -> int:
    """Take the lease for `ttl_s` seconds and return its fence, a number that grows with every acquisition.

    `owner` comes from `leases.new_owner`. A lease is free when it was released, has run out, or its owner's process
    is gone. Raises RunBusyError otherwise.
    """
    row = statements.row(session, RunRow, {"id": run_id})
    if row is None:
        raise not_found("run", run_id)
    now = utc_now()
    if row.owner and row.lease_until and row.lease_until > now and not leases.is_gone(row.owner):
        raise RunBusyError(
            f"{run_id} is being executed by {row.owner}.",
            hint="Wait for it, or stop that process; its lease ends by itself "
            f"{(row.lease_until - now).total_seconds():.0f} s after it falls silent.",
        )
    fence = row.fence + 1
    _write(session, run_id, {"owner": owner, "lease_until": now + timedelta(seconds=ttl_s), "fence": fence})
    return fence


def renew(session: Session, run_id: str, owner: str, fence: int, ttl_s: float) -> None:
    """Keep the lease for `ttl_s` seconds from now. Raises RunBusyError when it is no longer held."""
    verify(session, run_id, owner, fence)
    _write(session, run_id, {"lease_until": utc_now() + timedelta(seconds=ttl_s)})


def release(session: Session, run_id: str, owner: str, fence: int) -> None:
    """Give the lease back. Does nothing when somebody else has it by now."""
    held = {"id": run_id, "owner": owner, "fence": fence}
    statements.change(session, RunRow, held, {"owner": None, "lease_until": None})


def verify(session: Session, run_id: str, owner: str, fence: int) -> None:
    """Raise RunBusyError unless the lease is still ours. Checked in the same transaction as what it protects."""
    held = statements.values(session, RunRow, ("owner", "fence"), {"id": run_id})
    if held is None:
        raise NotFoundError(f"The run {run_id} was deleted while it was executed.")
    if (held[0], held[1]) != (owner, fence):
        raise RunBusyError(f"{run_id} was taken over by another process.", hint="Follow it there.")


def _write(session: Session, run_id: str, values: dict[str, Any]) -> None:
    if statements.change(session, RunRow, {"id": run_id}, values) == 0:
        raise not_found("run", run_id)
