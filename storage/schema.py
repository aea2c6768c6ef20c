"""Brings a database to the schema that this version of OpenHearth uses.

A database that is current is recognised by one query, without importing Alembic. Otherwise the migrations run in
one transaction, behind a lock file, after a backup: a crash leaves the old schema, a second process finds the new
one, and nobody sees a half.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from openhearth.errors import NewerSchemaError, StorageError
from openhearth.storage import sqlite
from openhearth.storage.backup import back_up
from openhearth.storage.failures import RESTORE_HINT

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0001"
"""The newest migration in `migrations/versions/`."""

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_LOCK_TIMEOUT_S = 120.0


def is_current(file: Path) -> bool:
    """Whether the schema of `file` needs nothing. Raises NewerSchemaError, or StorageError for a foreign file."""
    with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT_S)) as connection:
        revision = _revision(connection, file)
    return revision == REVISION


def migrate(file: Path, *, keep_backups: int, backup_folder: Path | None) -> None:
    """Run what is missing. Safe when several processes do it at once."""
    from filelock import FileLock

    with FileLock(f"{file}.lock", timeout=_LOCK_TIMEOUT_S, mode=0o600):
        with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT_S)) as connection:
            revision = _revision(connection, file)
            if revision == REVISION:
                return
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageError(
                f"{file} lies on a file system without write-ahead logging.",
                hint="Set storage.url to a file on a local disk.",
            )
        if revision is not None:
            back_up(file, f"before-{REVISION}", keep=keep_backups, folder=backup_folder)
        engine = sqlite.migration_engine(file)
        try:
            with engine.begin() as transaction:
                upgrade(transaction)
                _check_references(transaction, file)
        finally:
            engine.dispose()


def upgrade(connection: Connection, target: str = "head") -> None:
    """Run the migrations up to `target` inside the caller's transaction."""
    from alembic import command

    command.upgrade(alembic_config(connection), target)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, made in memory; `migrations/env.py` takes the connection from it."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_VERSIONS.parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def known_revisions() -> frozenset[str]:
    """The revisions of `migrations/versions/v*.py`, read off the names of the files."""
    return frozenset(match[1] for file in _VERSIONS.iterdir() if (match := re.match(r"v(\d{4})_\w+\.py$", file.name)))


def _check_references(connection: Connection, file: Path) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StorageError(f"Migrating {file} would break a reference of the table {broken[0]}.", hint=RESTORE_HINT)


def _revision(connection: sqlite3.Connection, file: Path) -> str | None:
    """The database's revision; None for an empty one."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "alembic_version" not in tables or "threads" not in tables:
        raise StorageError(
            f"{file} is a database, but not one of OpenHearth's.", hint="Set storage.url to another file."
        )
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise StorageError(f"{file} does not say which version wrote it.", hint=RESTORE_HINT)
    revision = str(row[0])
    if revision not in known_revisions():
        raise NewerSchemaError(
            f"{file} was written by a newer OpenHearth (schema {revision}, this one knows {REVISION}).",
            hint="Upgrade OpenHearth: pip install --upgrade openhearth.",
        )
    return revision
