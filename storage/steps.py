"""Steps: which node ran when. A step that a crash repeats keeps its number and counts another attempt."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from openhearth.errors import NotFoundError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.tables import StepRow
from openhearth.types import Usage


def start(session: Session, run_id: str, number: int, node: str) -> int:
    """Note that step `number` begins at `node`; returns which attempt this is, from 1."""
    known = session.execute(
        select(StepRow.attempts).where(col(StepRow.run_id) == run_id, col(StepRow.number) == number)
    ).scalar()
    if known is None:
        row = {"run_id": run_id, "number": number, "node": node, "attempts": 1, "started_at": utc_now()}
        statements.add(session, StepRow, [row])
        return 1
    attempts = int(known) + 1
    _update(session, run_id, number, node=node, attempts=attempts, started_at=utc_now(), finished_at=None, usage=None)
    return attempts


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
    where = (col(StepRow.run_id) == run_id, col(StepRow.number) == number)
    if statements.change(session, update(StepRow).where(*where).values(values)) == 0:
        raise NotFoundError(f"{run_id} has no step {number}.")
