"""Turns the database's own errors into `openhearth.errors`, with what to do about them."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from openhearth.errors import DiskFullError, StorageError

RESTORE_HINT = (
    "Move the file and its -wal and -shm companions away, then copy the newest file of the folder 'backups' "
    "beside it to its place. `sqlite3 FILE .recover` may save more."
)

_PRIMARY = 0xFF
_READ_ONLY_CODES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_CORRUPT_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise StorageError (or a child of it) for anything that the database at `where` refuses inside."""
    try:
        yield
    except DBAPIError as error:
        raise translate(error.orig or error, where) from error
    except PoolTimeoutError as error:
        raise _locked(where) from error
    except SQLAlchemyError as error:
        raise StorageError(f"The database {where} cannot do this: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise translate(error, where) from error


def translate(error: BaseException, where: str) -> StorageError:
    """The StorageError that says what `error` means and how to go on."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno in _FULL_ERRNOS):
        return DiskFullError(
            f"No room to write to {where}. What was committed before is safe.",
            hint="Free some space and go on with `hearth resume`.",
        )
    if code in _READ_ONLY_CODES or (isinstance(error, OSError) and error.errno in _READ_ONLY_ERRNOS):
        return StorageError(
            f"The database {where} cannot be written: {error}.",
            hint="Check the permissions of the file and its folder, or set storage.url to a place of your own.",
        )
    if code in _CORRUPT_CODES:
        return StorageError(f"The database {where} is damaged: {error}.", hint=RESTORE_HINT)
    if code in _LOCKED_CODES:
        return _locked(where)
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(
            f"The disk refused to read or write {where}: {error}.",
            hint="Check the free space and the disk. What was committed before is safe.",
        )
    if code == sqlite3.SQLITE_CANTOPEN or isinstance(error, OSError):
        return StorageError(
            f"The database {where} cannot be opened: {error}.",
            hint="Check that its folder exists, is readable, and is not a network share.",
        )
    return StorageError(f"The database {where} failed: {error}.")


def _locked(where: str) -> StorageError:
    return StorageError(
        f"The database {where} stayed locked by somebody else's transaction.",
        hint="Another process holds a write transaction open; end it and try again.",
    )
