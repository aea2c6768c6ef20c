"""Prints, for each data file of the workspace, its rows, columns and beginning, so that code can be written for it."""

import gzip
import json
import os
import sys

sys.path.insert(0, "/input")

import data_files
import duckdb

MOST_FILES = 8
SAMPLE_ROWS = 3
LONGEST_LINE = 400
LARGEST_COUNTED = 500_000_000


def main() -> None:
    connection = data_files.connect()
    files = data_files.find()
    for file in files[:MOST_FILES]:
        print(describe(connection, file), end="\n\n")
    if len(files) > MOST_FILES:
        print("More data files: " + ", ".join(file.path for file in files[MOST_FILES : MOST_FILES + 20]))


def describe(connection: duckdb.DuckDBPyConnection, file: data_files.DataFile) -> str:
    try:
        pairs = data_files.columns(connection, file)
    except duckdb.Error as error:
        return f"{file.path}: cannot be read as a table: {str(error).splitlines()[0]}"
    lines = [f"{file.path}{rows(connection, file)}, {len(pairs)} columns: {data_files.written(pairs)}"]
    beginning = raw_lines(file) if file.reader == "read_csv" else records(connection, file)
    return "\n".join([*lines, *(line[:LONGEST_LINE] for line in beginning)])


def rows(connection: duckdb.DuckDBPyConnection, file: data_files.DataFile) -> str:
    if os.path.getsize(f"{data_files.WORKSPACE}/{file.path}") > LARGEST_COUNTED:
        return ": very many rows"
    try:
        counted = connection.execute(f"SELECT count(*) FROM {file.source}").fetchone()
    except duckdb.Error:
        return ": an unknown number of rows"
    return f": {counted[0] if counted else 0:,} rows"


def raw_lines(file: data_files.DataFile) -> list[str]:
    """The header and the first rows, verbatim: separators, quotes and date formats matter to a program."""
    path = f"{data_files.WORKSPACE}/{file.path}"
    with open(path, "rb") as file_content:
        content = gzip.GzipFile(fileobj=file_content) if path.endswith(".gz") else file_content
        beginning = [content.readline(LONGEST_LINE * 4) for _ in range(SAMPLE_ROWS + 1)]
    return [line.decode("utf-8-sig", "replace").rstrip("\r\n") for line in beginning if line]


def records(connection: duckdb.DuckDBPyConnection, file: data_files.DataFile) -> list[str]:
    """The first rows as JSON objects."""
    result = connection.execute(f"SELECT * FROM {file.source} LIMIT {SAMPLE_ROWS}")
    names = [column[0] for column in result.description or ()]
    return [
        json.dumps(dict(zip(names, row, strict=True)), default=str, ensure_ascii=False) for row in result.fetchall()
    ]


if __name__ == "__main__":
    main()
