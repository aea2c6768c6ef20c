"""Statements that the repositories share: changes that report what they hit, and inserts that expect conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Delete, Table, Update, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from openhearth.storage import tables

OnConflict = Literal["error", "keep", "replace"]


def change(session: Session, statement: Update | Delete) -> int:
    """Execute the statement and return how many rows it met. Objects loaded before are not refreshed."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", result).rowcount


def add(
    session: Session,
    table: type[tables.Table],
    rows: Sequence[Mapping[str, Any]],
    *,
    on_conflict: OnConflict = "error",
) -> None:
    """Insert rows that name every column without a database default.

    Goes around the object layer, which costs three times as much. A row whose key exists is an error, stays as it
    is (`keep`), or takes the new values (`replace`).
    """
    if not rows:
        return
    target: Table = table.__table__  # type: ignore[attr-defined]  # set on every table class
    connection = session.connection()
    if on_conflict == "error":
        connection.execute(insert(target), rows)
        return
    # The two dialects spell it alike, but SQLAlchemy has no common statement for it.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(target)
    keys = [column.name for column in target.primary_key]
    if on_conflict == "keep":
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    else:
        others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=others)
    connection.execute(statement, rows)
