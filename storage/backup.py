"""Copies of the database from before a migration, beside it in `backups/`."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from openhearth import paths

FOLDER = "backups"


def back_up(file: Path, label: str, *, keep: int, folder: Path | None = None) -> Path | None:
    """Copy `file` through SQLite's backup API, which sees one consistent state even while others write.

    `label` goes into the copy's name. The newest `keep` copies stay; 0 makes none and returns None. The copy gets
    its final name only when it is complete and on the disk.
    """
    if keep <= 0:
        return None
    folder = paths.ensure_private(folder or file.parent / FOLDER)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = folder / f"{file.stem}-{stamp}-{label}.db"
    partial = target.with_suffix(".partial")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
            # One file, without companions, can be copied back by hand.
            copy.execute("PRAGMA journal_mode=DELETE")
        partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for old in list_backups(file, folder=folder)[keep:]:
        old.unlink(missing_ok=True)
    return target


def list_backups(file: Path, *, folder: Path | None = None) -> list[Path]:
    """The complete copies of `file`, newest first."""
    return sorted((folder or file.parent / FOLDER).glob(f"{file.stem}-*.db"), reverse=True)
