"""Runs `/input/query.sql` in DuckDB over the workspace's data files and prints the last result as a table."""

import re
import sys

sys.path.insert(0, "/input")

import data_files
import duckdb

MOST_ROWS = 50
WIDEST_CELL = 100
MOST_TABLES = 20


def main() -> None:
    with open("/input/query.sql", encoding="utf-8") as file:
        query = file.read()
    connection = data_files.connect()
    files = data_files.find()
    # Making a view reads the file's beginning; the others are made only when the query names none.
    words = set(re.findall(r"\w+", query.lower()))
    named = [file for file in files if any(set(re.findall(r"\w+", name.lower())) <= words for name in file.names)]
    unreadable = data_files.make_views(connection, named or files)
    try:
        result = connection.execute(query)
        rows = result.fetchmany(MOST_ROWS + 1) if result.description else []
        print_table([column[0] for column in result.description or ()], rows[:MOST_ROWS])
        if len(rows) > MOST_ROWS:
            print(f"[only the first {MOST_ROWS} rows are shown: aggregate, filter, or use LIMIT]")
    except duckdb.Error as error:
        print(explain(error, connection, files, unreadable), file=sys.stderr)
        sys.exit(1)


def print_table(names: list[str], rows: list[tuple[object, ...]]) -> None:
    """Aligned columns, numbers to the right."""
    if not names:
        return
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(line[at]) for line in [names, *cells]) for at in range(len(names))]
    right = [all(isinstance(row[at], int | float) for row in rows) and bool(rows) for at in range(len(names))]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())
    if not rows:
        print("[no rows]")


def cell(value: object) -> str:
    if value is None:
        return "NULL"
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= WIDEST_CELL else f"{text[: WIDEST_CELL - 1]}…"


def explain(
    error: duckdb.Error,
    connection: duckdb.DuckDBPyConnection,
    files: list[data_files.DataFile],
    unreadable: dict[str, str],
) -> str:
    """The error, then the tables with their columns."""
    lines = [str(error).strip(), "Tables:" if files else "There are no CSV, JSON or Parquet files in the workspace."]
    for file in files[:MOST_TABLES]:
        try:
            described = data_files.written(data_files.columns(connection, file))
        except duckdb.Error:
            described = f"cannot be read: {unreadable.get(file.path, 'unknown format')}"
        lines.append(f"- {data_files.quoted(file.table) if not file.table.isidentifier() else file.table}: {described}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
