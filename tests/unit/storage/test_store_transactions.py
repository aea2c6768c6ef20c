from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from openhearth.errors import DiskFullError, HearthError, StorageError
from openhearth.storage import sqlite, threads
from openhearth.storage.store import Store
from openhearth.storage.tables import MessageRow, ThreadRow


def test_an_exception_undoes_the_whole_block(store: Store) -> None:
    with suppress(KeyError), store.write() as session:
        threads.create(session)
        raise KeyError
    with store.read() as session:
        assert threads.list(session) == []


def test_our_own_errors_pass_through_unchanged(store: Store) -> None:
    error = HearthError("mine")
    with pytest.raises(HearthError) as raised, store.write():
        raise error
    assert raised.value is error


def test_a_reader_sees_one_state_while_a_writer_commits(store: Store) -> None:
    with store.read() as reader:
        assert len(threads.list(reader)) == 0
        with store.write() as writer:
            threads.create(writer)
        assert len(threads.list(reader)) == 0
    with store.read() as reader:
        assert len(threads.list(reader)) == 1


def test_a_reader_never_waits_for_an_open_write_transaction(store: Store) -> None:
    with store.write() as writer:
        threads.create(writer)
        with store.read() as reader:
            assert threads.list(reader) == []


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StorageError, match="cannot be written"), store.read() as session:
        threads.create(session)


def test_a_write_inside_a_write_is_an_error_and_not_a_deadlock(store: Store) -> None:
    with store.write(), pytest.raises(StorageError, match="inside another"), store.write():
        pass
    with store.write() as session:
        threads.create(session)


def test_the_write_lock_is_taken_at_the_start(store: Store) -> None:
    with (
        store.write(),
        closing(sqlite3.connect(store.file, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_many_threads_write_without_losing_anything(store: Store) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for turn in range(20):
            with store.write() as session:
                threads.create(session, title=f"{number}/{turn}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with store.read() as session:
        assert {row.title for row in threads.list(session)} == {f"{n}/{t}" for n in range(8) for t in range(20)}


def test_a_full_disk_says_so_and_loses_nothing(store: Store) -> None:
    with store.write() as session:
        kept = threads.create(session, title="kept").id
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar()

    def fill() -> None:
        with store.write() as session:
            session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages}")
            for _ in range(1_000):
                threads.create(session, title="x" * 80)

    with pytest.raises(DiskFullError, match="No room") as full:
        fill()
    assert "hearth resume" in full.value.hint
    with store.read() as session:
        assert [row.id for row in threads.list(session)] == [kept]


def test_a_lock_that_is_never_released_is_explained(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_CONNECT_ARGS", {**sqlite._CONNECT_ARGS, "timeout": 0.05})
    with (
        Store.open(f"sqlite:///{store.file}") as impatient,
        store.write(),
        pytest.raises(StorageError, match="stayed locked"),
        impatient.write(),
    ):
        pass


def test_references_are_enforced(store: Store) -> None:
    with pytest.raises(StorageError, match="FOREIGN KEY"), store.write() as session:
        session.add(MessageRow(id="msg_x", thread_id="thr_none", role="user", body={}))


def test_rows_stay_readable_outside_the_block(store: Store) -> None:
    with store.write() as session:
        row = threads.create(session, title="Orders")
    assert row.title == "Orders"
    assert isinstance(row, ThreadRow)


def test_closing_twice_is_fine(url: str) -> None:
    store = Store.open(url)
    store.close()
    store.close()
