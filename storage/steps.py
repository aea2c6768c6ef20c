"""Steps: which node ran when. A step that a crash repeats keeps its number and counts another attempt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Insert, null
from sqlmodel import Session, col, select

from openhearth.errors import NotFoundError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.tables import StepRow
from openhearth.types import Usage


def start(session: Session, run_id: str, number: int, node: str) -> int:
    """Note that step `number` begins at `node`; returns which attempt this is, from 1."""
    row = {"run_id": run_id, "number": number, "node": node, "attempts": 1, "started_at": utc_now()}
    return int(session.execute(_start(session.get_bind().dialect.name), row).scalar_one())


def finish(session: Session, run_id: str, number: int, *, usage: Usage | None = None) -> None:
    """Note that the step ended. Raises NotFoundError when it never started."""
    _update(
        session,
        run_id,
        number,
        finished_at=utc_now(),
        usage=None if usage is None else usage.model_dump(mode="json"),
    )


def list(session: Session, run_id: str) -> Sequence[StepRow]:  # noqa: A001
    """The run's steps in order."""
    return session.exec(select(StepRow).where(col(StepRow.run_id) == run_id).order_by(col(StepRow.number))).all()


def _update(session: Session, run_id: str, number: int, **values: object) -> None:
    if statements.change(session, StepRow, {"run_id": run_id, "number": number}, values) == 0:
        raise NotFoundError(f"{run_id} has no step {number}.")


@cache
def _start(dialect: str) -> Insert:
    statement = statements.upsert(StepRow, dialect)
    again = {
        "node": statement.excluded.node,
        "attempts": statements.columns_of(StepRow).c.attempts + 1,
        "started_at": statement.excluded.started_at,
        "finished_at": None,
        "usage": null(),
    }
    return statement.on_conflict_do_update(index_elements=["run_id", "number"], set_=again).returning(
        statements.columns_of(StepRow).c.attempts
    )
