"""The workspace's data files as DuckDB views. Imported by the programs beside it, inside the sandbox."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

WORKSPACE = "/workspace"
MOST_FILES = 100
MOST_LOOKED_AT = 20_000
MOST_COLUMNS = 60
SKIPPED_FOLDERS = {"__pycache__", "node_modules"}  # and hidden ones

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".parquet": "read_parquet",
}


@dataclass(frozen=True)
class DataFile:
    """A file by its path in the workspace, the function that reads it, and its table's name."""

    path: str
    reader: str
    table: str

    @property
    def source(self) -> str:
        """An SQL expression for the file's rows."""
        return f"{self.reader}({quoted(f'{WORKSPACE}/{self.path}', mark=chr(39))})"

    @property
    def names(self) -> set[str]:
        """The names of its table: the stem, and the same with underscores where that needs no quoting."""
        return {self.table, re.sub(r"\W", "_", self.table)}


def quoted(text: str, mark: str = '"') -> str:
    return mark + text.replace(mark, mark * 2) + mark


def as_name(name: str) -> str:
    """The name as SQL needs it: quoted only where it must be."""
    return name if name.isidentifier() else quoted(name)


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that stays within the sandbox's limits."""
    connection = duckdb.connect(":memory:")
    for setting in (
        "threads = 2",
        "memory_limit = '1GB'",
        "temp_directory = '/tmp'",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_progress_bar = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def find() -> list[DataFile]:
    """All data files, in a stable order; a second file of the same stem is named after its path."""
    found: list[DataFile] = []
    taken: set[str] = set()
    for path in _paths():
        stem, extension = os.path.splitext(path.removesuffix(".gz"))
        reader = READERS.get(extension.lower())
        if reader is None:
            continue
        table = os.path.basename(stem)
        if table.lower() in taken:
            table = stem.replace("/", "_")
        if table.lower() in taken:
            table = path.replace("/", "_")
        taken.add(table.lower())
        found.append(DataFile(path, reader, table))
        if len(found) == MOST_FILES:
            break
    return found


def make_views(connection: duckdb.DuckDBPyConnection, files: Iterable[DataFile]) -> dict[str, str]:
    """Make a view of each file; returns the errors of those that cannot be read, by path."""
    errors: dict[str, str] = {}
    for file in files:
        try:
            for name in sorted(file.names):
                connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS SELECT * FROM {file.source}")
        except duckdb.Error as error:
            errors[file.path] = str(error).splitlines()[0]
    return errors


def columns(connection: duckdb.DuckDBPyConnection, file: DataFile) -> list[tuple[str, str]]:
    """Names and types of a file's columns. Raises duckdb.Error."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {file.source}").fetchall()
    return [(str(row[0]), str(row[1])) for row in rows]


def written(pairs: list[tuple[str, str]]) -> str:
    """`id BIGINT, name VARCHAR`, cut where there are very many."""
    text = ", ".join(f"{as_name(name)} {kind}" for name, kind in pairs[:MOST_COLUMNS])
    return text + (f", and {len(pairs) - MOST_COLUMNS} more" if len(pairs) > MOST_COLUMNS else "")


def _paths() -> Iterable[str]:
    looked_at = 0
    for folder, folders, names in os.walk(WORKSPACE):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or name in SKIPPED_FOLDERS))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, WORKSPACE)
        looked_at += len(names) + 1
        if looked_at > MOST_LOOKED_AT:
            return
