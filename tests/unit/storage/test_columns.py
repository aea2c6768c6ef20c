from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from openhearth.errors import StorageError
from openhearth.storage import runs, threads
from openhearth.storage.columns import UtcDateTime
from openhearth.storage.store import Store
from openhearth.storage.tables import RunRow, Table, ThreadRow

POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
SQLITE: Dialect = sqlite.dialect()


def test_times_come_back_in_utc(store: Store) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with store.write() as session:
        session.add(ThreadRow(id="thr_x", created_at=noon))
    with store.read() as session:
        got = threads.get(session, "thr_x").created_at
    assert got == noon
    assert got.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(StorageError, match="naive"), store.write() as session:
        session.add(ThreadRow(id="thr_x", created_at=datetime(2026, 3, 1)))


def test_postgresql_keeps_aware_times() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert UtcDateTime().process_bind_param(moment, POSTGRESQL) == moment
    assert UtcDateTime().process_bind_param(moment, SQLITE) == moment.replace(tzinfo=None)


def test_text_that_no_database_takes_is_mended(store: Store, thread_id: str) -> None:
    with store.write() as session:
        row = runs.create(session, thread_id, "a\ud800b\0c", {"odd": "\ud800", "fine": "ü"})
    with store.read() as session:
        got = session.get(RunRow, row.id)
    assert got is not None
    assert got.task == "a?b?c"
    assert got.agent == {"odd": "?", "fine": "ü"}


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])
def test_every_table_and_index_can_be_written_for(dialect: Dialect) -> None:
    for table in Table.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
