"""The statements of the hot path: by key, built once, executed on bare columns.

A step of a run executes some twenty statements. Composing one, and going through the object layer, costs several
times what SQLite needs for it; a statement that is kept costs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CursorResult,
    Delete,
    Executable,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from openhearth.storage import tables

OnConflict = Literal["error", "keep", "replace"]
T = TypeVar("T", bound=tables.Table)

_KEY = "key_"


def columns_of(table: type[tables.Table]) -> SqlTable:
    """The bare table behind a class."""
    return cast("SqlTable", table.__table__)  # type: ignore[attr-defined]  # every table class has it


def by_key(target: SqlTable, names: Iterable[str]) -> ColumnElement[bool]:
    """A condition on columns, whose parameters `keyed` names."""
    return and_(*(target.c[name] == parameter(target, name, prefix=_KEY) for name in names))


def keyed(where: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a `by_key` condition."""
    return {_KEY + name: value for name, value in where.items()}


def parameter(target: SqlTable, name: str, *, prefix: str = "") -> BindParameter[Any]:
    """A parameter with the column's type."""
    return bindparam(prefix + name, type_=target.c[name].type)


def run(session: Session, statement: Executable, parameters: Mapping[str, Any] | None = None) -> int:
    """Execute a change and return how many rows it met. Objects loaded before are not refreshed."""
    if isinstance(statement, Update | Delete):
        statement = statement.execution_options(synchronize_session=False) if parameters is None else statement
    return cast("CursorResult[Any]", session.execute(statement, parameters)).rowcount


def change(session: Session, table: type[tables.Table], where: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Set `values` where the columns of `where` are equal, and return how many rows that met."""
    return run(session, _update(table, tuple(where), tuple(values)), {**keyed(where), **values})


def values(
    session: Session, table: type[tables.Table], names: Sequence[str], where: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """These columns of the row where the columns of `where` are equal."""
    found = session.execute(_select(table, tuple(names), tuple(where)), keyed(where)).first()
    return None if found is None else tuple(found)


def row(session: Session, table: type[T], where: Mapping[str, Any]) -> T | None:
    """The row where the columns of `where` are equal."""
    names = tuple(where)
    # Loading an object costs four times as much as finding that there is none, which is what most callers find.
    if session.execute(_select(table, names, names), keyed(where)).first() is None:
        return None
    return cast("T | None", session.execute(_select(table, (), names), keyed(where)).scalar())


def add(
    session: Session,
    table: type[tables.Table],
    rows: Sequence[Mapping[str, Any]],
    *,
    on_conflict: OnConflict = "error",
) -> None:
    """Insert rows, which all name the same columns.

    A row whose key exists is an error, stays as it is (`keep`), or takes the new values (`replace`).
    """
    if rows:
        dialect = session.get_bind().dialect.name
        session.connection().execute(_insert(table, tuple(rows[0]), on_conflict, dialect), [dict(row) for row in rows])


@cache
def upsert(table: type[tables.Table], dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with ON CONFLICT; the two dialects spell it alike, but SQLAlchemy has no common statement for it."""
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(columns_of(table))


@cache
def _select(table: type[tables.Table], names: tuple[str, ...], where: tuple[str, ...]) -> Select[Any]:
    target = columns_of(table)
    wanted = [target.c[name] for name in names] if names else [table]
    return select(*wanted).where(by_key(target, where)).execution_options(populate_existing=True)


@cache
def _update(table: type[tables.Table], where: tuple[str, ...], names: tuple[str, ...]) -> Update:
    target = columns_of(table)
    return update(target).where(by_key(target, where)).values({name: parameter(target, name) for name in names})


@cache
def _insert(table: type[tables.Table], names: tuple[str, ...], on_conflict: OnConflict, dialect: str) -> Insert:
    target = columns_of(table)
    if on_conflict == "error":
        return insert(target).values({name: parameter(target, name) for name in names})
    keys = [column.name for column in target.primary_key]
    statement = upsert(table, dialect)
    if on_conflict == "keep":
        return statement.on_conflict_do_nothing(index_elements=keys)
    others = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)
