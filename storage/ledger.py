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
from functools import cache

from sqlalchemy import Insert
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
    attempts = session.execute(_intend(session.get_bind().dialect.name), row).scalar()
    if attempts is None:
        raise _already(session, run_id, call.id)
    return int(attempts)


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
    return statements.row(session, LedgerRow, {"run_id": run_id, "call_id": call_id})


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
    open_call = {"run_id": run_id, "call_id": call_id, "state": "intended"}
    outcome = {
        "duration_s": duration_s,
        "note": note,
        "output": output.model_dump(mode="json"),
        "settled_at": utc_now(),
        "state": state,
    }
    if statements.change(session, LedgerRow, open_call, outcome) == 0:
        raise _already(session, run_id, call_id)


def _already(session: Session, run_id: str, call_id: str) -> StorageError | NotFoundError:
    known = get(session, run_id, call_id)
    if known is None:
        return NotFoundError(f"The call {call_id} of {run_id} was never intended.")
    return StorageError(f"The call {call_id} of {run_id} already has an outcome: {known.state}.")


@cache
def _intend(dialect: str) -> Insert:
    """Inserts, or counts another attempt; returns nothing when there is an outcome."""
    present = statements.columns_of(LedgerRow).c
    statement = statements.upsert(LedgerRow, dialect)
    return statement.on_conflict_do_update(
        index_elements=["run_id", "call_id"],
        set_={"attempts": present.attempts + 1, "intended_at": statement.excluded.intended_at},
        where=present.state == "intended",
    ).returning(present.attempts)
