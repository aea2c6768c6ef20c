"""Prints, for each data file of the workspace, its rows and what each column holds, so that code can be written for it.

Values are described rather than shown in rows: a small model that sees three rows likes to answer from them.
"""

import os
import re
import sys
from collections.abc import Iterator

sys.path.insert(0, "/input")

import data_files
import duckdb

MOST_FILES = 8
MOST_LISTED = 20
EXAMPLES = 2
LONGEST_VALUE = 40
LARGEST_READ = 200_000_000
QUANTITY = re.compile(r"(.*_)?(quantity|qty|units)(_.*)?", re.IGNORECASE)
UNIT_PRICE = re.compile(r"(unit_?(price|cost)|price_?(each|per_unit)|price)", re.IGNORECASE)
DATES = ("DATE", "TIMESTAMP")
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "UINTEGER", "UBIGINT")


def main() -> None:
    connection = data_files.connect()
    files = data_files.find()
    for file in files[:MOST_FILES]:
        print(describe(connection, file), end="\n\n")
    if len(files) > MOST_FILES:
        print("More data files: " + ", ".join(file.path for file in files[MOST_FILES : MOST_FILES + 20]))


def describe(connection: duckdb.DuckDBPyConnection, file: data_files.DataFile) -> str:
    heading = f"{file.path} (table {data_files.as_name(file.table)})"
    try:
        pairs = data_files.columns(connection, file)
        if os.path.getsize(f"{data_files.WORKSPACE}/{file.path}") > LARGEST_READ:
            return f"{heading}: very many rows, columns {data_files.written(pairs)}"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE described AS SELECT * FROM {file.source}")
        (rows,) = connection.execute("SELECT count(*) FROM described").fetchone() or (0,)
        lines = [column(connection, name, kind) for name, kind in pairs[: data_files.MOST_COLUMNS]]
        more = len(pairs) - len(lines)
        return "\n".join(
            [
                f"{heading}: {rows:,} rows",
                *lines,
                *([f"  and {more} more columns"] if more else []),
                *worth(pairs),
                *dialect(connection, file),
            ]
        )
    except duckdb.Error as error:
        return f"{file.path}: cannot be read as a table: {str(error).splitlines()[0]}"


def column(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> str:
    """One line: the name, the type, and the range or the values."""
    plain = data_files.as_name(name)
    text = holds(connection, data_files.quoted(name), plain, kind)
    return f"  {plain} {kind}: {text}" if text else f"  {plain} {kind}"


def holds(connection: duckdb.DuckDBPyConnection, quoted: str, plain: str, kind: str) -> str:
    base = kind.partition("(")[0].partition(" ")[0]
    if base in DATES or base in NUMBERS:
        low, high = connection.execute(f"SELECT min({quoted}), max({quoted}) FROM described").fetchone() or (None, None)
        if low is None:
            return "always empty"
        parts = f"; year({plain}), quarter({plain}), monthname({plain}), dayname({plain}) give its parts"
        return f"{short(low)} to {short(high)}{parts if base in DATES else ''}"
    if base != "VARCHAR":
        return ""
    query = f"SELECT {quoted}, count(*) FROM described WHERE {quoted} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    values = connection.execute(query).fetchall()
    if len(values) <= MOST_LISTED:
        return ", ".join(short(value) for value, _ in values) or "always empty"
    return f"{len(values):,} different, such as {', '.join(short(value) for value, _ in values[:EXAMPLES])}"


def worth(pairs: list[tuple[str, str]]) -> Iterator[str]:
    """How to compute what a row is worth, where a table holds a quantity and a unit price but no amount."""
    numbers = [name for name, kind in pairs if kind.partition("(")[0] in NUMBERS]
    quantities = [name for name in numbers if QUANTITY.fullmatch(name)]
    prices = [name for name in numbers if UNIT_PRICE.fullmatch(name)]
    if len(quantities) == len(prices) == 1:
        factors = " * ".join(data_files.as_name(name) for name in (*quantities, *prices))
        yield f"  {factors}: what a row is worth in money"


def dialect(connection: duckdb.DuckDBPyConnection, file: data_files.DataFile) -> Iterator[str]:
    """What a program that reads a CSV file must know, where it is not the usual."""
    if file.reader != "read_csv":
        return
    path = f"{data_files.WORKSPACE}/{file.path}"
    found = connection.execute("SELECT Delimiter, DateFormat FROM sniff_csv(?)", [path]).fetchone()
    delimiter, date_format = found or (",", None)
    if delimiter != ",":
        yield f"  columns are separated by {'a tab' if delimiter == chr(9) else delimiter}"
    if date_format and date_format != "%Y-%m-%d":
        yield f"  dates are written as {date_format}"


def short(value: object) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value).replace("\n", "\\n")
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


if __name__ == "__main__":
    main()
