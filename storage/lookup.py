"""Finds a row by its id, or by any part of the id that names one row alone.

Ids sort by time, so neighbours share a beginning; the ending tells them apart soonest. Both are accepted, with or
without the kind: `run_0a1b2c3d4e5f6g7h`, `run_0a1b2c3d4e5f6`, `0a1b2c3d4e5f6`, `6g7h`.
"""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy.orm import InstrumentedAttribute
from sqlmodel import Session, col, or_, select

from openhearth.errors import NotFoundError
from openhearth.storage.tables import Table

Row = TypeVar("Row", bound=Table)

_SHORTEST = 3
_SHOWN = 5


def find(session: Session, table: type[Row], text: str, *, what: str) -> Row:
    """The one row of `table` that `text` names. `what` is the word for it in messages.

    Raises NotFoundError, which lists the candidates when there are several.
    """
    exact = session.get(table, text)
    if exact is not None:
        return exact
    wanted = text.strip().lower()
    identifier: InstrumentedAttribute[str] = table.id  # type: ignore[attr-defined]  # every table searched has one
    bare = wanted.partition("_")[2] if "_" in wanted else wanted
    if len(bare) < _SHORTEST:
        raise NotFoundError(f"No {what} is named {text!r}.", hint=f"Give at least {_SHORTEST} characters of its id.")
    found = session.exec(
        select(table)
        .where(
            or_(
                col(identifier).startswith(wanted, autoescape=True),
                col(identifier).like(f"%!_{_escaped(wanted)}%", escape="!") if bare == wanted else False,
                col(identifier).endswith(wanted, autoescape=True),
            )
        )
        .order_by(col(identifier).desc())
        .limit(_SHOWN + 1)
    ).all()
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFoundError(f"No {what} is named {text!r}.", hint=f"`hearth {what}s list` shows them.")
    names = ", ".join(str(row.id) for row in found[:_SHOWN])  # type: ignore[attr-defined]
    more = " …" if len(found) > _SHOWN else ""
    raise NotFoundError(f"{text!r} could be any of these {what}s: {names}{more}", hint="Give more of the id.")


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
