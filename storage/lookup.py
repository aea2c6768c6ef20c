"""Finds a row by its id, or by any part of the id that names one row alone.

Ids sort by time, so neighbours share a beginning; the ending tells them apart soonest. Both are accepted, with or
without the kind: `run_0a1b2c3d4e5f6g7h`, `run_0a1b2c3d4e5f6`, `0a1b2c3d4e5f6`, `6g7h`.
"""

from __future__ import annotations

from typing import TypeVar

from sqlmodel import Session, col, or_, select

from openhearth.errors import NotFoundError
from openhearth.storage.ids import Kind
from openhearth.storage.tables import ApprovalRow, RunRow, ThreadRow

Row = TypeVar("Row", ThreadRow, RunRow, ApprovalRow)

_SHORTEST = 3
_SHOWN = 5
_WORDS: dict[Kind, tuple[str, str]] = {
    "thr": ("thread", "`hearth threads list` shows them."),
    "run": ("run", "`hearth runs list` shows them."),
    "apr": ("approval", "`hearth runs list` shows which runs wait for one."),
}


def find(session: Session, table: type[Row], kind: Kind, text: str) -> Row:
    """The one row of `table`, whose ids are of this kind, that `text` names.

    Raises NotFoundError, which lists the candidates when there are several.
    """
    exact = session.get(table, text, populate_existing=True)
    if exact is not None:
        return exact
    part = text.strip().lower().removeprefix(f"{kind}_")
    if len(part) < _SHORTEST:
        raise not_found(kind, text, hint=f"Give at least {_SHORTEST} characters of its id.")
    identifier = col(table.id)
    matches = or_(identifier.startswith(f"{kind}_{part}", autoescape=True), identifier.endswith(part, autoescape=True))
    found = session.exec(select(table).where(matches).order_by(identifier.desc()).limit(_SHOWN + 1)).all()
    if not found:
        raise not_found(kind, text)
    if len(found) > 1:
        names = ", ".join(row.id for row in found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        raise NotFoundError(f"{text!r} could be any of these {_WORDS[kind][0]}s: {names}", hint="Give more of the id.")
    return found[0]


def not_found(kind: Kind, text: str, *, hint: str | None = None) -> NotFoundError:
    """The error for an id that names nothing."""
    word, where_to_look = _WORDS[kind]
    return NotFoundError(f"No {word} is named {text!r}.", hint=where_to_look if hint is None else hint)
