from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from openhearth.errors import ConfigError, NewerSchemaError, StorageError
from openhearth.storage import threads
from openhearth.storage.store import Store


def test_the_file_and_its_folder_belong_to_the_owner_alone(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/home/hearth.db") as store:
        with store.write() as session:
            threads.create(session)
        files = [*store.file.parent.iterdir()]
        assert {file.name for file in files} >= {"hearth.db", "hearth.db-wal", "hearth.db-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(store.file.parent.stat().st_mode) == 0o700


def test_what_was_written_is_there_after_opening_again(url: str) -> None:
    with Store.open(url) as store, store.write() as session:
        thread_id = threads.create(session, title="Orders").id
    with Store.open(url) as store, store.read() as session:
        assert threads.get(session, thread_id).title == "Orders"


def test_a_path_with_odd_characters_works(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20ü#?" / "h%d.db"
    with Store.open(f"sqlite:///{str(odd).replace('%', '%25').replace('?', '%3F')}") as store, store.write() as session:
        threads.create(session)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2), ("busy_timeout", 30_000), ("trusted_schema", 0)],
)
def test_the_writers_connection_is_set_up(store: Store, setting: str, value: object) -> None:
    with store.write() as session:
        assert session.connection().exec_driver_sql(f"PRAGMA {setting}").scalar() == value


def test_a_relaxed_transaction_does_not_wait_for_the_disk_and_the_next_one_does(store: Store) -> None:
    for durable, level in ((False, 1), (True, 2), (False, 1)):
        with store.write(durable=durable) as session:
            assert session.connection().exec_driver_sql("PRAGMA synchronous").scalar() == level


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "postgresql://host/db", "nonsense", "sqlite:///file:x?mode=ro&uri=true"]
)
def test_a_url_that_is_no_sqlite_file_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Store.open(url)
    assert "sqlite:////absolute" in refused.value.hint


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    with Store.open(url) as store:
        file = store.file
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(NewerSchemaError, match="9999") as refused:
        Store.open(url)
    assert "pip install --upgrade" in refused.value.hint
    assert file.read_bytes() == before


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StorageError, match="not one of OpenHearth's"):
        Store.open(f"sqlite:///{file}")


@pytest.mark.parametrize("damage", ["header", "pages"])
def test_a_damaged_file_is_named_with_the_way_back(url: str, damage: str) -> None:
    with Store.open(url) as store:
        file = store.file
        with store.write() as session:
            for _ in range(200):
                threads.create(session, title="x" * 80)
    content = bytearray(file.read_bytes())
    content[:100] = b"\xa5" * 100 if damage == "header" else content[:100]
    content[200:] = b"\xa5" * len(content[200:])
    file.write_bytes(content)
    with pytest.raises(StorageError, match="damaged") as refused:
        Store.open(url)
    assert "backups" in refused.value.hint


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be opened"):
        Store.open(f"sqlite:///{tmp_path}/file/hearth.db")


def test_opening_a_current_database_imports_no_alembic_and_leaves_no_backup(url: str) -> None:
    Store.open(url).close()
    code = (
        "import sys; from openhearth.storage.store import Store; "
        f"store = Store.open({url!r}); "
        "from openhearth.storage import threads; "
        "session = store.read().__enter__(); threads.list(session); "
        "sys.exit(','.join(m for m in ('alembic', 'mako', 'filelock') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
