"""Each of the database's own errors becomes one of ours that says what to do."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys

import pytest

from openhearth.errors import DiskFullError, StorageError
from openhearth.storage.failures import translate


def _of_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "says", "advises"),
    [
        (_of_sqlite(sqlite3.SQLITE_FULL), DiskFullError, "No room", "hearth resume"),
        (OSError(errno.ENOSPC, "full"), DiskFullError, "No room", "Free some space"),
        (OSError(errno.EDQUOT, "quota"), DiskFullError, "No room", "Free some space"),
        (_of_sqlite(sqlite3.SQLITE_READONLY_DIRECTORY), StorageError, "cannot be written", "permissions"),
        (OSError(errno.EROFS, "read-only"), StorageError, "cannot be written", "storage.url"),
        (PermissionError(errno.EACCES, "no"), StorageError, "cannot be written", "permissions"),
        (_of_sqlite(sqlite3.SQLITE_CORRUPT_INDEX), StorageError, "damaged", "backups"),
        (_of_sqlite(sqlite3.SQLITE_NOTADB), StorageError, "damaged", ".recover"),
        (_of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), StorageError, "stayed locked", "Another process"),
        (_of_sqlite(sqlite3.SQLITE_IOERR_WRITE), StorageError, "disk refused", "free space"),
        (_of_sqlite(sqlite3.SQLITE_CANTOPEN), StorageError, "cannot be opened", "folder"),
        (FileNotFoundError(errno.ENOENT, "gone"), StorageError, "cannot be opened", "folder"),
        (_of_sqlite(sqlite3.SQLITE_CONSTRAINT), StorageError, "it says", ""),
    ],
)
def test_an_error_is_translated(error: Exception, kind: type[StorageError], says: str, advises: str) -> None:
    got = translate(error, "/home/hearth.db")
    assert type(got) is kind
    assert says in got.message
    assert "/home/hearth.db" in got.message
    assert advises in got.hint


def test_a_disk_that_refuses_to_grow_a_file_undoes_the_transaction_and_keeps_the_rest(url: str) -> None:
    """The operating system's own limit on a file's size, which needs no privilege and no spare disk."""
    code = """
import resource, signal, sys
from openhearth.errors import StorageError
from openhearth.storage import threads
from openhearth.storage.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store.open(sys.argv[1]) as store:
    with store.write() as session:
        threads.create(session, title="kept")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        with store.write() as session:
            for number in range(3_000):
                threads.create(session, title="x" * 80)
    except StorageError as error:
        print(error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with store.write() as session:
        threads.create(session, title="later")
    with store.read() as session:
        print(sorted(row.title for row in threads.list(session)))
"""
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=False)
    refused, titles = done.stdout.splitlines()
    assert "disk refused" in refused or "No room" in refused
    assert titles == "['kept', 'later']"
    assert (done.returncode, done.stderr) == (0, "")
