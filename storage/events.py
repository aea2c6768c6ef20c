"""Events: what a run told the world, in order. Deltas are not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select

from openhearth.errors import StorageError
from openhearth.events import EVENT_ADAPTER, CallDelta, Event, TextDelta
from openhearth.storage import statements
from openhearth.storage.tables import EventRow


def append(session: Session, event: Event) -> Event:
    """Keep `event` and return it with its seq: the given one, or the run's next when it is 0.

    Raises StorageError for a delta, and for a seq that is taken.
    """
    (kept,) = extend(session, [event])
    return kept


def extend(session: Session, happened: Sequence[Event]) -> list[Event]:
    """Keep several events of one run, as `append` does, and return them."""
    kept: list[Event] = []
    for event in happened:
        if isinstance(event, TextDelta | CallDelta):
            raise StorageError("Deltas are shown, not kept.")
        if event.seq == 0:
            before = kept[-1].seq if kept else last_seq(session, event.run_id)
            event = event.model_copy(update={"seq": before + 1})
        kept.append(event)
    rows = [
        {"run_id": event.run_id, "seq": event.seq, "type": event.type, "body": event.model_dump(mode="json")}
        for event in kept
    ]
    statements.add(session, EventRow, rows)
    return kept


def after(session: Session, run_id: str, seq: int = 0) -> Iterator[Event]:
    """The run's events with a greater seq, in order; read lazily, so use them inside the transaction."""
    rows = session.exec(
        select(EventRow.body)
        .where(col(EventRow.run_id) == run_id, col(EventRow.seq) > seq)
        .order_by(col(EventRow.seq))
        .execution_options(yield_per=200)
    )
    return (EVENT_ADAPTER.validate_python(body) for body in rows)


def last_seq(session: Session, run_id: str) -> int:
    """The greatest seq of the run; 0 before its first event."""
    return session.execute(_LAST, {"run": run_id}).scalar_one() or 0


_E = statements.columns_of(EventRow)
_LAST = core_select(func.max(_E.c.seq)).where(_E.c.run_id == bindparam("run"))
