"""Several processes on one database: nobody is turned away, nothing is lost, and a kill leaves it whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from openhearth.errors import RunBusyError
from openhearth.events import Notice
from openhearth.storage import events, leases, messages, runs, threads
from openhearth.storage.store import Store
from openhearth.types import Message

_WRITER = """
import sys
from openhearth.events import Notice
from openhearth.storage import events, messages
from openhearth.storage.store import Store
from openhearth.types import Message

url, thread_id, run_id, name, turns = *sys.argv[1:5], int(sys.argv[5])
with Store.open(url) as store:
    for turn in range(turns):
        with store.write(durable=turn % 4 == 0) as session:
            messages.add(session, thread_id, None, Message(role="user", content=f"{name}/{turn}"), run_id)
            events.append(session, Notice(run_id=run_id, thread_id=thread_id, text=f"{name}/{turn}"))
        with store.read() as session:
            assert len(messages.tree(session, thread_id)) > turn
        print(turn, flush=True)
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hearth.db"


@pytest.fixture
def ids(url: str) -> tuple[str, str]:
    """A thread and a run in it."""
    with Store.open(url) as store, store.write() as session:
        thread_id = threads.create(session).id
        return thread_id, runs.create(session, thread_id, "task", {}).id


@pytest.mark.slow
def test_four_processes_write_at_once_and_nothing_is_lost(url: str, ids: tuple[str, str]) -> None:
    turns = 40
    started = [_start(_WRITER, url, *ids, f"p{number}", str(turns)) for number in range(4)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    expected = {f"p{number}/{turn}" for number in range(4) for turn in range(turns)}
    with Store.open(url) as store, store.read() as session:
        told = [*events.after(session, ids[1])]
        assert {row.body["content"] for row in messages.tree(session, ids[0])} == expected
    assert [event.seq for event in told] == list(range(1, 4 * turns + 1))
    assert {event.text for event in told if isinstance(event, Notice)} == expected


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_whole_transactions_and_no_lock(url: str, ids: tuple[str, str]) -> None:
    for number in range(6):
        process = _start(_WRITER, url, *ids, f"k{number}", "100000")
        assert process.stdout is not None
        for _ in range(3 + number):
            process.stdout.readline()
        time.sleep(0.003 * number)
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        reported = 3 + number + len(rest.splitlines())
        with Store.open(url) as store, store.write() as session:
            kept = sum(row.body["content"].startswith(f"k{number}/") for row in messages.tree(session, ids[0]))
            told = sum(
                isinstance(e, Notice) and e.text.startswith(f"k{number}/") for e in events.after(session, ids[1])
            )
        assert kept == told >= reported - 1
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_all_find_it_ready(url: str) -> None:
    code = (
        "import sys; from openhearth.storage.store import Store; from openhearth.storage import threads\n"
        "with Store.open(sys.argv[1]) as store, store.write() as session: threads.create(session, title=sys.argv[2])"
    )
    started = [_start(code, url, str(number)) for number in range(5)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    with Store.open(url) as store, store.read() as session:
        assert {row.title for row in threads.list(session)} == {"0", "1", "2", "3", "4"}


def test_a_lease_is_respected_across_processes_and_falls_with_its_process(url: str, ids: tuple[str, str]) -> None:
    code = (
        "import sys, time; from openhearth.storage import leases, runs; from openhearth.storage.store import Store\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    with store.write() as session: runs.acquire(session, sys.argv[2], leases.new_owner(), 3600)\n"
        "    print('held', flush=True); time.sleep(300)"
    )
    process = _start(code, url, ids[1])
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with Store.open(url) as store:
        with pytest.raises(RunBusyError), store.write() as session:
            runs.acquire(session, ids[1], leases.new_owner(), 60)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        with store.write() as session:
            assert runs.acquire(session, ids[1], leases.new_owner(), 60) == 2


def test_an_older_reader_keeps_its_view_while_the_log_grows(url: str, ids: tuple[str, str]) -> None:
    with Store.open(url) as store, store.read() as reader:
        assert messages.tree(reader, ids[0]) == []
        for number in range(50):
            with store.write(durable=False) as session:
                messages.add(session, ids[0], None, Message(role="user", content=str(number) * 2_000))
        assert messages.tree(reader, ids[0]) == []
