"""Migrations: they agree with the models, back up first, and are all or nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from openhearth.errors import StorageError
from openhearth.storage import schema, sqlite, threads
from openhearth.storage.backup import list_backups
from openhearth.storage.store import Store
from openhearth.storage.tables import Table

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("threads") as threads:
        threads.add_column(sa.Column("colour", sa.String(), nullable=False, server_default="grey"))
    {last}
"""


def test_models_and_migrations_agree(store: Store) -> None:
    engine = sqlite.writer_engine(store.file)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_the_code_expects(store: Store) -> None:
    engine = sqlite.writer_engine(store.file)
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(schema.alembic_config(connection))
    engine.dispose()
    assert scripts.get_heads() == [schema.REVISION]
    assert {script.revision for script in scripts.walk_revisions()} == schema.known_revisions()


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A later OpenHearth, with one more migration; returns that migration's file."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema._VERSIONS.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "_VERSIONS", folder / "versions")
    monkeypatch.setattr(schema, "REVISION", "0002")
    return folder / "versions" / "v0002_colour.py"


@pytest.fixture
def old_file(url: str) -> Path:
    """A database of today with one thread in it."""
    with Store.open(url) as store, store.write() as session:
        threads.create(session, title="Orders")
    return store.file


def _columns(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(threads)")]


def test_an_old_database_is_backed_up_and_then_migrated(old_file: Path, url: str, next_version: Path) -> None:
    next_version.write_text(_NEXT.format(last=""))
    with Store.open(url) as store, store.read() as session:
        assert [row.title for row in threads.list(session)] == ["Orders"]
    assert "colour" in _columns(old_file)
    (backup,) = list_backups(old_file)
    assert "before-0002" in backup.name
    assert "colour" not in _columns(backup)
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT title FROM threads").fetchall() == [("Orders",)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_migration_that_fails_changes_nothing(old_file: Path, url: str, next_version: Path) -> None:
    next_version.write_text(_NEXT.format(last='op.execute("SELECT no_such_function()")'))
    with pytest.raises(StorageError, match="no_such_function"):
        Store.open(url)
    assert "colour" not in _columns(old_file)
    next_version.write_text(_NEXT.format(last=""))
    Store.open(url).close()
    assert "colour" in _columns(old_file)


def test_a_migration_that_breaks_a_reference_is_undone(old_file: Path, url: str, next_version: Path) -> None:
    orphan = "INSERT INTO steps (run_id, number, node, attempts, started_at) VALUES ('run_x', 1, 'n', 1, '2026-01-01')"
    next_version.write_text(_NEXT.format(last=f'op.execute("{orphan}")'))
    with pytest.raises(StorageError, match="would break a reference of the table steps"):
        Store.open(url)
    assert "colour" not in _columns(old_file)


def test_backups_go_where_they_are_told_and_only_the_newest_stay(
    old_file: Path, url: str, next_version: Path, tmp_path: Path
) -> None:
    next_version.write_text(_NEXT.format(last='op.execute("SELECT no_such_function()")'))
    for _ in range(4):
        with pytest.raises(StorageError):
            Store.open(url, backup_folder=tmp_path / "elsewhere", keep_backups=2)
    assert len(list_backups(old_file, folder=tmp_path / "elsewhere")) == 2
    assert list_backups(old_file) == []


def test_no_backups_are_made_when_none_are_kept(old_file: Path, url: str, next_version: Path) -> None:
    next_version.write_text(_NEXT.format(last=""))
    Store.open(url, keep_backups=0).close()
    assert list_backups(old_file) == []


def test_a_new_database_needs_no_backup(store: Store) -> None:
    assert list_backups(store.file) == []
