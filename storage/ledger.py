"""The ledger: every tool call's intent, written before it runs, and its outcome, written once.

    (nothing) ── intend ──> intended ── settle ──> done | failed
                             │    ^
                             │    └ intend again: another attempt, the same idempotency key
                             └ resolve ──> resolved        a person said what happened

An outcome is final: no transition leaves done, failed or resolved. A call found intended when nobody executes its run
is in doubt: its side effects may or may not have happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from openhearth.errors import NotFoundError, StorageError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.tables import LedgerRow, LedgerState
from openhearth.types import ToolAnnotations, ToolCall, ToolOutput


def intend(
    session: Session,
    run_id: str,
    call: ToolCall,
    step: int,
    idempotency_key: str,
    annotations: ToolAnnotations,
) -> int:
    """Note that `call` is about to run, and return which attempt this is, from 1.

    Commit it durably before the tool starts. Raises StorageError when the call already has an outcome.
    """
    known = get(session, run_id, call.id)
    if known is None:
        row = {
            "run_id": run_id,
            "call_id": call.id,
            "step": step,
            "name": call.name,
            "arguments": call.arguments,
            "annotations": annotations.model_dump(),
            "idempotency_key": idempotency_key,
            "state": "intended",
            "attempts": 1,
            "note": "",
            "intended_at": utc_now(),
        }
        statements.add(session, LedgerRow, [row])
        return 1
    if known.state != "intended":
        raise StorageError(f"The call {call.id} of {run_id} already has an outcome: {known.state}.")
    _update(session, known, {"attempts": known.attempts + 1, "intended_at": utc_now()})
    return known.attempts + 1


def settle(session: Session, run_id: str, call_id: str, output: ToolOutput, duration_s: float) -> None:
    """Write the outcome of an intended call: done, or failed when the output is not ok.

    Raises StorageError when the call was not intended or already has an outcome.
    """
    _finish(session, run_id, call_id, "done" if output.ok else "failed", output, duration_s=duration_s)


def resolve(session: Session, run_id: str, call_id: str, output: ToolOutput, *, note: str) -> None:
    """Write what a person said about a call in doubt. `note` tells who and why. Raises as `settle` does."""
    _finish(session, run_id, call_id, "resolved", output, note=note)


def get(session: Session, run_id: str, call_id: str) -> LedgerRow | None:
    """The call's row, or None when it was never intended."""
    return session.get(LedgerRow, (run_id, call_id), populate_existing=True)


def list(session: Session, run_id: str) -> Sequence[LedgerRow]:  # noqa: A001
    """The run's calls in the order of their first intent."""
    return session.exec(
        select(LedgerRow)
        .where(col(LedgerRow.run_id) == run_id)
        .order_by(col(LedgerRow.step), col(LedgerRow.intended_at))
    ).all()


def open_intents(session: Session, run_id: str) -> Sequence[LedgerRow]:
    """The run's calls without an outcome."""
    return [row for row in list(session, run_id) if row.state == "intended"]


def output(row: LedgerRow) -> ToolOutput | None:
    """The outcome that the row holds."""
    return None if row.output is None else ToolOutput.model_validate(row.output)


def _finish(
    session: Session,
    run_id: str,
    call_id: str,
    state: LedgerState,
    output: ToolOutput,
    *,
    duration_s: float | None = None,
    note: str = "",
) -> None:
    known = get(session, run_id, call_id)
    if known is None:
        raise NotFoundError(f"The call {call_id} of {run_id} was never intended.")
    if known.state != "intended":
        raise StorageError(f"The call {call_id} of {run_id} already has an outcome: {known.state}.")
    _update(
        session,
        known,
        {
            "state": state,
            "output": output.model_dump(mode="json"),
            "duration_s": duration_s,
            "note": note,
            "settled_at": utc_now(),
        },
    )


def _update(session: Session, row: LedgerRow, values: dict[str, object]) -> None:
    where = (col(LedgerRow.run_id) == row.run_id, col(LedgerRow.call_id) == row.call_id)
    statements.change(session, update(LedgerRow).where(*where).values(values))
