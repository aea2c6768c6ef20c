"""Approvals: questions to a person about one call, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue
from sqlmodel import Session, col, select

from openhearth.errors import StorageError
from openhearth.storage import statements
from openhearth.storage.columns import utc_now
from openhearth.storage.ids import new_id
from openhearth.storage.lookup import find
from openhearth.storage.tables import ApprovalRow
from openhearth.types import ToolCall


def request(session: Session, run_id: str, call: ToolCall, preview: str = "", in_doubt: bool = False) -> ApprovalRow:
    """The open question about `call`, asked now unless it is open already."""
    row = session.exec(
        select(ApprovalRow).where(
            col(ApprovalRow.run_id) == run_id,
            col(ApprovalRow.call_id) == call.id,
            col(ApprovalRow.status) == "pending",
        )
    ).first()
    if row is None:
        row = ApprovalRow(
            id=new_id("apr"),
            run_id=run_id,
            call_id=call.id,
            call=call.model_dump(mode="json"),
            preview=preview,
            in_doubt=in_doubt,
        )
        session.add(row)
        session.flush()
    return row


def get(session: Session, id_or_part: str) -> ApprovalRow:
    """The approval with this id, or with this unique part of one. Raises NotFoundError."""
    return find(session, ApprovalRow, "apr", id_or_part)


def decide(
    session: Session,
    approval_id: str,
    approved: bool,
    reason: str = "",
    by: str = "",
    arguments: dict[str, JsonValue] | None = None,
) -> ApprovalRow:
    """Answer the question; `arguments` replace the call's own. Another answer than the first raises StorageError."""
    row = get(session, approval_id)
    status = "approved" if approved else "denied"
    if row.status == status and row.arguments == arguments:
        return row
    if row.status != "pending":
        raise StorageError(f"{row.id} was already {row.status}.", hint="The decision stands.")
    row.status, row.reason, row.by, row.arguments, row.decided_at = status, reason, by, arguments, utc_now()
    session.add(row)
    session.flush()
    return row


def pending(session: Session, run_id: str | None = None) -> Sequence[ApprovalRow]:
    """Open questions, oldest first; of one run, or of all."""
    query = select(ApprovalRow).where(col(ApprovalRow.status) == "pending").order_by(col(ApprovalRow.id))
    if run_id is not None:
        query = query.where(col(ApprovalRow.run_id) == run_id)
    return session.exec(query).all()


def of_call(session: Session, run_id: str, call_id: str) -> Sequence[ApprovalRow]:
    """Every question that was asked about this call, oldest first."""
    if statements.values(session, ApprovalRow, ("id",), {"run_id": run_id, "call_id": call_id}) is None:
        return []
    return session.exec(
        select(ApprovalRow)
        .where(col(ApprovalRow.run_id) == run_id, col(ApprovalRow.call_id) == call_id)
        .order_by(col(ApprovalRow.id))
    ).all()


def call(row: ApprovalRow) -> ToolCall:
    """The call as it may run: with the arguments that the person changed, if any."""
    values: dict[str, Any] = dict(row.call)
    if row.arguments is not None:
        values["arguments"] = row.arguments
    return ToolCall.model_validate(values)
