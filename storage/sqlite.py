"""SQLite's side of the store: the file, its connections, and when a transaction begins.

Python's driver must not begin transactions of its own: its legacy mode begins them late and only for writes. So it
is put into autocommit, and the begin hook sends the statement: `BEGIN` for readers, `BEGIN IMMEDIATE` for the
writer, who thereby waits for its turn at the start, where waiting is allowed, and never fails in the middle.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from openhearth import paths
from openhearth.errors import ConfigError
from openhearth.storage.columns import dump_json

BUSY_TIMEOUT_S = 30.0
"""How long a transaction waits for the writers before it."""

RELAXED = "hearth_relaxed"
"""Execution option of a write transaction that need not reach the disk before the next strict one."""

_WAL_LIMIT_BYTES = 64 << 20


def database_file(url: str) -> Path:
    """The file that `url` names. Raises ConfigError for anything but an SQLite file."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"storage.url is not a database URL: {url}", hint=_URL_HINT) from error
    if parsed.get_backend_name() != "sqlite" or parsed.get_driver_name() != "pysqlite":
        raise ConfigError(f"storage.url names {parsed.drivername}, which is not supported.", hint=_URL_HINT)
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise ConfigError("storage.url must name a file: what is in memory cannot be resumed.", hint=_URL_HINT)
    return Path(parsed.database).expanduser().absolute()


def prepare_file(file: Path) -> None:
    """Make the file, in a folder that only its owner can enter, readable by its owner alone.

    SQLite gives its -wal and -shm companions the same mode. A folder that is there already keeps its mode.
    """
    paths.ensure_private(file.parent)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def writer_engine(file: Path) -> Engine:
    """One connection: writers of this process queue here, in order, instead of polling SQLite's lock."""
    engine = create_engine(
        _url(file),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        json_serializer=dump_json,
        connect_args=_CONNECT_ARGS,
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin_write)
    return engine


def reader_engine(file: Path) -> Engine:
    """Connections that cannot write. Each transaction sees one state; none waits for a writer."""
    engine = create_engine(_url(file), poolclass=QueuePool, pool_size=4, max_overflow=32, connect_args=_CONNECT_ARGS)
    event.listen(engine, "connect", _configure_reader)
    event.listen(engine, "begin", _begin_read)
    return engine


def migration_engine(file: Path) -> Engine:
    """For schema changes. References are not enforced, since rebuilding a table would cascade into its children;
    whoever migrates checks them before the commit."""
    engine = create_engine(_url(file), poolclass=NullPool, connect_args=_CONNECT_ARGS)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "connect", lambda connection, _entry: connection.execute("PRAGMA foreign_keys=OFF"))
    event.listen(engine, "begin", _begin_write)
    return engine


_URL_HINT = "Write sqlite:////absolute/path/hearth.db, or leave it out for the default place."
_CONNECT_ARGS: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}


def _url(file: Path) -> URL:
    return URL.create("sqlite", database=str(file))


def _configure(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
    entry.info[RELAXED] = False


def _configure_reader(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA query_only=ON")


def _begin_write(connection: Connection) -> None:
    relaxed = bool(connection.get_execution_options().get(RELAXED, False))
    info = connection.info
    if info.get(RELAXED) is not relaxed:
        # Allowed between transactions only.
        connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
        info[RELAXED] = relaxed
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_read(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
