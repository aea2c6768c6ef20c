"""The door to the database: open it, read, write.

store = Store.open(settings.database_url)
with store.write() as session:
    thread = threads.create(session, title="Orders")
with store.read() as session:
    print(threads.get(session, thread.id).title)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session

from openhearth.errors import StorageError
from openhearth.storage import schema, sqlite
from openhearth.storage.failures import translated

__all__ = ["Session", "Store"]


class Store:
    """One open database. Any thread may use it; a Session belongs to the block that it was handed to.

    Rows that leave a block stay readable, but are no longer connected to the database.
    """

    def __init__(self, file: Path, reader: Engine, writer: Engine) -> None:
        self.file = file
        self._reader = reader
        self._writer = writer
        self._writing = threading.local()

    @classmethod
    def open(cls, url: str, *, backup_folder: Path | None = None, keep_backups: int = 5) -> Store:
        """Open the database at `url`, making or migrating it first.

        Before a migration the database is copied to `backup_folder` (default: `backups` beside it), where the
        newest `keep_backups` copies stay. Raises ConfigError for a URL that is no SQLite file, NewerSchemaError
        when a newer OpenHearth wrote it, DiskFullError, and StorageError for everything else.
        """
        file = sqlite.database_file(url)
        with translated(str(file)):
            sqlite.prepare_file(file)
            if not schema.is_current(file):
                schema.migrate(file, keep_backups=keep_backups, backup_folder=backup_folder)
        return cls(file, sqlite.reader_engine(file), sqlite.writer_engine(file))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one state of the database and cannot change it. It waits for nobody."""
        with (
            translated(str(self.file)),
            Session(self._reader, expire_on_commit=False, autoflush=False) as session,
        ):
            yield session

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """The one write transaction: committed at the end of the block, undone by any exception.

        Other writers, in this process or another, wait meanwhile, so do nothing slow inside and never await. With
        `durable` the commit is on the disk when the block ends. Without it, it survives the death of the process
        at once, and a power failure from the next durable commit on; commits are never lost out of order.
        """
        if getattr(self._writing, "active", False):
            raise StorageError("A write transaction was opened inside another one.", hint="Pass the Session on.")
        self._writing.active = True
        try:
            with (
                translated(str(self.file)),
                Session(self._writer, expire_on_commit=False) as session,
                session.begin(),
            ):
                session.connection(execution_options={sqlite.RELAXED: not durable})
                yield session
        finally:
            self._writing.active = False

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        self._reader.dispose()
        self._writer.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
