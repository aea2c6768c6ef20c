"""Runs `/input/query.sql` in DuckDB over the workspace's data files and prints the last result as a table."""

import decimal
import re
import sys
from collections.abc import Iterator

sys.path.insert(0, "/input")

import data_files
import duckdb

MOST_ROWS = 50
WIDEST_CELL = 100
MOST_TABLES = 20
FEWEST_ROWS = 3
MOST_MEASURES = 3
DATE_HINT = (
    "A date is not text. Use year(d), quarter(d), month(d), day(d), or compare: d BETWEEN DATE '2025-03-01' AND ..."
)
PARTS = ("year", "quarter", "month", "monthname", "week", "day", "dayname", "dayofweek", "hour")
LIKE_ON_DATE = re.compile(r"'!?~~\*?\((?:DATE|TIMESTAMP)")
LIKE = re.compile(r"""((?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?)(\s+(?:NOT\s+)?I?LIKE\b)""", re.IGNORECASE)


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
        result, note = execute(connection, query)
        rows = result.fetchmany(MOST_ROWS + 1) if result.description else []
        print_table([column[0] for column in result.description or ()], rows[:MOST_ROWS])
        if len(rows) <= MOST_ROWS:
            print_extremes([column[0] for column in result.description or ()], rows)
        else:
            print(f"[only the first {MOST_ROWS} rows are shown: aggregate, filter, or use LIMIT]")
        if note:
            print(note)
    except duckdb.Error as error:
        print(explain(error, connection, files, unreadable), file=sys.stderr)
        sys.exit(1)


def execute(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[duckdb.DuckDBPyConnection, str]:
    """Run the query, and say what had to be changed. Many write `date LIKE '2025-03%'`, whose meaning is plain."""
    try:
        return connection.execute(query), ""
    except duckdb.BinderException as error:
        if not LIKE_ON_DATE.search(str(error)):
            raise
        try:
            as_text = connection.execute(LIKE.sub(r"CAST(\1 AS VARCHAR)\2", query))
        except duckdb.Error:
            raise error from None
        return as_text, "[dates were compared as text, like '2025-03-31']"


def print_table(names: list[str], rows: list[tuple[object, ...]]) -> None:
    """Aligned columns, numbers to the right."""
    if not names:
        return
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(line[at]) for line in [names, *cells]) for at in range(len(names))]
    right = [all(is_number(row[at]) for row in rows) and bool(rows) for at in range(len(names))]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())
    if not rows:
        print("[no rows]")


def print_extremes(names: list[str], rows: list[tuple[object, ...]]) -> None:
    """Name the rows with the largest and the smallest value of each measure, unless the rows are sorted by it.

    Small models pick a wrong row out of an unsorted table more often than not.
    """
    if len(rows) < FEWEST_ROWS:
        return
    measures = [at for at in range(len(names)) if all(is_number(row[at]) for row in rows)]
    for at in measures[:MOST_MEASURES] if len(measures) < len(names) else []:
        values = [row[at] for row in rows]
        ascending = sorted(rows, key=lambda row: row[at])  # type: ignore[arg-type, return-value]
        if values not in ([row[at] for row in ascending], [row[at] for row in reversed(ascending)]):
            print(f"[largest {names[at]}: {line(ascending[-1])}; smallest: {line(ascending[0])}]")


def is_number(value: object) -> bool:
    return isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)


def line(row: tuple[object, ...]) -> str:
    return ", ".join(cell(value) for value in row)


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
    """The error, what to do about a frequent one, then the tables with their columns."""
    text = str(error).strip()
    hint = DATE_HINT if re.search(r"argument types '[^']*\((DATE|TIMESTAMP)", text) else ""
    heading = "Tables:" if files else "There are no CSV, JSON or Parquet files in the workspace."
    lines = [text, *([hint] if hint else []), *missing_parts(text, connection, files), heading]
    for file in files[:MOST_TABLES]:
        try:
            described = data_files.written(data_files.columns(connection, file))
        except duckdb.Error:
            described = f"cannot be read: {unreadable.get(file.path, 'unknown format')}"
        lines.append(f"- {data_files.as_name(file.table)}: {described}")
    return "\n".join(lines)


def missing_parts(text: str, connection: duckdb.DuckDBPyConnection, files: list[data_files.DataFile]) -> Iterator[str]:
    """What to write instead of a column that is only a part of a date."""
    missing = re.search(r'column "(\w+)" not found', text)
    part = missing.group(1).lower() if missing else ""
    if part not in PARTS:
        return
    for file in files[:MOST_TABLES]:
        try:
            dates = [name for name, kind in data_files.columns(connection, file) if kind.startswith(("DATE", "TIME"))]
        except duckdb.Error:
            continue
        for name in dates[:1]:
            call = f"{part}({data_files.as_name(name)})"
            example = connection.execute(f"SELECT {call} FROM {file.source} LIMIT 1").fetchone()
            yield f"{part} is no column; write {call}" + (f", which is for example {example[0]!r}." if example else ".")


if __name__ == "__main__":
    main()
