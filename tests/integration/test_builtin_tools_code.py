"""python, shell, sql and the description of data files, in the sandbox, as a model uses them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import duckdb
import pytest

from openhearth.config import SandboxSettings
from openhearth.tools.base import ToolContext
from openhearth.tools.builtin import builtin_tools
from openhearth.tools.builtin.describe import describe_files
from openhearth.tools.sandbox import BwrapSandbox, open_sandbox
from openhearth.tools.toolset import Toolset
from openhearth.types import ToolOutput

Use = Callable[[str, str], Awaitable[ToolOutput]]
ORDERS = "order_id,date,customer,amount\n1,2025-03-01,Ada,10.50\n2,2025-03-02,Bob,20.25\n3,2025-04-01,Ada,5.00\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "data").mkdir(parents=True)
    (root / "data" / "orders.csv").write_text(ORDERS)
    return root


@pytest.fixture
async def sandbox() -> BwrapSandbox:
    return await open_sandbox(SandboxSettings())


@pytest.fixture
def use(workspace: Path, sandbox: BwrapSandbox) -> Use:
    tools = Toolset(builtin_tools(["python", "shell", "sql"]))
    context = ToolContext(workspace, sandbox, "run", "call", "key", output_limit=2_000)

    async def call(name: str, source: str) -> ToolOutput:
        tool = tools.get(name)
        return await tool.call(tool.validate({tool.spec.source_argument: source}), context)

    return call


# --- python


async def test_python_prints(use: Use) -> None:
    output = await use("python", "import csv\nprint(len(list(csv.reader(open('data/orders.csv')))))")
    assert output == ToolOutput(content="4")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("x = 2\nx + 1", "3"),
        ("'text'", "text"),
        ("[1, {'a': None}]", "[1, {'a': None}]"),
        ("print('once')", "once"),
        ("```python\nprint('fenced')\n```", "fenced"),
        ("def main():\n    print('called')\nif __name__ == '__main__':\n    main()", "called"),
        ("import sys\nprint(sys.argv, __file__)", "['script.py'] /workspace/script.py"),
        ("print('grüße 你好')", "grüße 你好"),
    ],
)
async def test_python_shows_a_last_expression(use: Use, code: str, shown: str) -> None:
    assert (await use("python", code)).content == shown


async def test_python_asks_for_print(use: Use) -> None:
    output = await use("python", "total = 0\nfor n in range(3):\n    total += n\n")
    assert output.ok
    assert output.content == ("The program ended well but printed nothing. Print the result, for example print(total).")
    assert (await use("python", "pass")).content.endswith("for example print().")


async def test_python_reports_changes_instead(use: Use, workspace: Path) -> None:
    output = await use("python", "open('report.md', 'w').write('done')\nimport os\nos.remove('data/orders.csv')\nNone")
    assert output.content == "[files changed: data/orders.csv deleted, report.md added]"
    assert [change.kind for change in output.changes] == ["deleted", "added"]
    assert (workspace / "report.md").read_text() == "done"


async def test_traceback_is_the_scripts_own_with_values(use: Use) -> None:
    output = await use(
        "python",
        "import csv\ntotal = 0\nfor row in csv.DictReader(open('data/orders.csv')):\n    total += row['price']\n",
    )
    assert not output.ok
    assert output.content == (
        "Traceback (most recent call last):\n"
        '  File "script.py", line 4, in <module>\n'
        "    total += row['price']\n"
        + ("             ~~~^^^^^^^^^\n" if "~~~" in output.content else "")
        + "KeyError: 'price'\n"
        "With: total = 0, row = {'amount': '10.50', 'customer': 'Ada', 'date': '2025-03-01', 'order_id': '1'}\n"
        "[exit code 1]"
    )


async def test_traceback_through_the_workspace_but_not_the_library(use: Use, workspace: Path) -> None:
    (workspace / "mine.py").write_text("import json\n\ndef load(text):\n    return json.loads(text)\n")
    output = await use("python", "import mine\nmine.load('{')")
    assert 'File "script.py", line 2' in output.content
    assert 'File "/workspace/mine.py", line 4, in load' in output.content
    assert "json/decoder.py" not in output.content
    assert "JSONDecodeError" in output.content


async def test_syntax_errors_show_the_place(use: Use) -> None:
    output = await use("python", "x = 1\nif x\n    pass")
    assert not output.ok
    assert output.content.startswith('  File "script.py", line 2\n    if x\n        ^\nSyntaxError:')


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (
            "import no_such_package",
            "packages are installed: dateutil, duckdb, numpy, pandas",
        ),
        ("open('orders.csv')", "Write 'data/orders.csv'. The files in the workspace are: data/orders.csv."),
    ],
)
async def test_errors_carry_what_helps(use: Use, code: str, hint: str) -> None:
    assert hint in (await use("python", code)).content


async def test_exit_codes_and_partial_output(use: Use) -> None:
    output = await use("python", "print('half')\nraise SystemExit(3)")
    assert (output.ok, output.content) == (False, "half\n[exit code 3]")
    output = await use("python", "print('half')\n1 / 0")
    assert output.content.startswith("half\nTraceback")


async def test_long_output_keeps_both_ends(use: Use) -> None:
    output = await use("python", "for n in range(5000):\n    print('row', n)")
    assert output.truncated
    assert output.content.startswith("row 0\n")
    assert output.content.endswith("row 4999")
    assert "left out" in output.content
    assert len(output.content) < 2_200


async def test_endless_program_is_stopped_and_told(workspace: Path) -> None:
    (python,) = builtin_tools(["python"])
    sandbox = await open_sandbox(SandboxSettings(timeout_s=1))
    context = ToolContext(workspace, sandbox, "run", "call", "key")
    output = await python.call({"code": "print('begun', flush=True)\nwhile True: pass"}, context)
    assert not output.ok
    assert output.content == "begun\n[stopped: it ran longer than 1 s]"


async def test_notes_reach_the_model(use: Use) -> None:
    output = await use("python", "import os\nos.symlink('/etc', 'out')\nprint('made')")
    assert output.content == "made\n[out was not applied: links are not taken over]"


async def test_numpy_when_it_is_installed(use: Use) -> None:
    assert (await use("python", "import numpy\nint(numpy.arange(4).sum())")).content == "6"


# --- shell


async def test_shell(use: Use, workspace: Path) -> None:
    output = await use("shell", "cut -d, -f3 data/orders.csv | sort | uniq -c > counts.txt; cat counts.txt; exit 2")
    assert not output.ok
    assert "2 Ada" in output.content
    assert output.content.endswith("[exit code 2]\n[files changed: counts.txt added]")
    assert (workspace / "counts.txt").exists()
    assert (await use("shell", "true")).content == "The commands ended well and printed nothing."
    assert "not found" in (await use("shell", "no-such-program")).content


# --- sql


async def test_sql_result_is_an_aligned_table(use: Use) -> None:
    output = await use("sql", "SELECT customer, sum(amount) AS total FROM orders GROUP BY customer ORDER BY customer;")
    assert output == ToolOutput(content="customer  total\nAda        15.5\nBob       20.25")


async def test_sql_types_dates_nulls_and_quoted_names(use: Use, workspace: Path) -> None:
    (workspace / "people-2.json").write_text(json.dumps([{"name": "Ada", "age": 36}, {"name": None, "age": None}]))
    assert (await use("sql", 'SELECT * FROM "people-2"')).content == "name  age\nAda   36\nNULL  NULL"
    assert (await use("sql", "SELECT age FROM people_2 WHERE age > 0")).content == "age\n 36"
    assert (await use("sql", "SELECT month(date) AS m FROM orders LIMIT 1")).content == "m\n3"


async def test_sql_shows_at_most_50_rows_and_says_so(use: Use) -> None:
    output = await use("sql", "SELECT * FROM range(200)")
    lines = output.content.splitlines()
    assert len(lines) == 52
    assert lines[-1] == "[only the first 50 rows are shown: aggregate, filter, or use LIMIT]"
    assert (await use("sql", "SELECT * FROM orders WHERE false")).content.endswith("[no rows]")


async def test_sql_names_extremes_of_complete_unsorted_results_alone(use: Use) -> None:
    by_customer = "SELECT customer, sum(amount) AS total FROM orders GROUP BY customer, date"
    assert "[largest total: Bob, 20.25; smallest: Ada, 5]" in (await use("sql", by_customer)).content
    assert "largest" not in (await use("sql", f"{by_customer} ORDER BY total")).content
    many = "SELECT 'x' || range AS name, (range * 7) % 200 AS n FROM range(200)"
    assert "largest" not in (await use("sql", many)).content


async def test_sql_errors_list_tables_and_columns(use: Use, workspace: Path) -> None:
    (workspace / "broken.parquet").write_bytes(b"not parquet")
    for query in ("SELECT price FROM orders", "SELECT * FROM sales", "SELEC 1"):
        output = await use("sql", query)
        assert not output.ok
        assert "Error" in output.content
        assert "- orders: order_id BIGINT, date DATE, customer VARCHAR, amount DOUBLE" in output.content
        assert "- broken: cannot be read" in output.content


async def test_sql_compares_a_date_with_text_where_that_is_meant(use: Use) -> None:
    output = await use("sql", "SELECT count(*) AS n FROM orders AS o WHERE o.date LIKE '2025-03-%'")
    counted = await use("sql", "SELECT count(*) AS n FROM orders WHERE month(date) = 3")
    assert output.ok
    assert output.content == f"{counted.content}\n[dates were compared as text, like '2025-03-31']"


async def test_sql_that_takes_a_date_for_text_is_told_how_to_do_it(use: Use) -> None:
    output = await use("sql", "SELECT substr(date, 1, 7) FROM orders")
    assert not output.ok
    assert "A date is not text" in output.content
    assert "A date is not text" not in (await use("sql", "SELECT price FROM orders")).content


async def test_sql_that_takes_a_part_of_a_date_for_a_column_is_told(use: Use) -> None:
    output = await use("sql", "SELECT * FROM orders WHERE quarter = 'Q1'")
    assert "quarter is no column; write quarter(date), which is for example 1." in output.content


async def test_sql_reads_parquet_and_compressed_files(use: Use, workspace: Path) -> None:
    target = workspace / "sales.parquet"
    duckdb.sql("SELECT 1 AS id, 2.5 AS amount").write_parquet(str(target))
    (workspace / "log.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    (workspace / "events.jsonl").write_text('{"kind": "x"}\n{"kind": "y"}\n')
    assert (await use("sql", "SELECT amount FROM sales")).content == "amount\n   2.5"
    assert (await use("sql", "SELECT b FROM log")).content == "b\n2"
    assert (await use("sql", "SELECT count(*) AS n FROM events")).content == "n\n2"


async def test_files_of_one_name_are_told_apart(use: Use, workspace: Path) -> None:
    (workspace / "old").mkdir()
    (workspace / "old" / "orders.csv").write_text("x\n9\n")
    assert (await use("sql", "SELECT count(*) AS n FROM orders")).content == "n\n3"
    assert (await use("sql", "SELECT x FROM old_orders")).content == "x\n9"


async def test_sql_cannot_write(use: Use, workspace: Path) -> None:
    output = await use("sql", "COPY orders TO '/workspace/copy.csv'")
    assert not output.ok
    assert output.changes == ()
    assert sorted(path.name for path in workspace.iterdir()) == ["data"]


# --- describe_files


async def test_describe_shows_rows_types_and_what_columns_hold(workspace: Path, sandbox: BwrapSandbox) -> None:
    (workspace / "people.tsv").write_text("name\tjoined\nAda\t31/01/2024\n")
    (workspace / "notes.txt").write_text("not data")
    (workspace / ".tool").mkdir()
    (workspace / ".tool" / "cache.json").write_text("[1]")
    described = await describe_files(workspace, sandbox)
    people, orders = described.split("\n\n")
    assert orders.splitlines()[0] == "data/orders.csv (table orders): 3 rows"
    assert "  order_id BIGINT: 1 to 3" in orders.splitlines()
    assert "  customer VARCHAR: Ada, Bob" in orders.splitlines()
    assert "  amount DOUBLE: 5 to 20.25" in orders.splitlines()
    assert "  date DATE: 2025-03-01 to 2025-04-01" in orders
    assert "columns are separated by a tab" in people


async def test_describe_says_how_a_row_is_valued(workspace: Path, sandbox: BwrapSandbox) -> None:
    (workspace / "sales.csv").write_text("item,Qty,unit_price\nlamp,2,9.5\n")
    (workspace / "stock.csv").write_text("item,qty,amount\nlamp,2,19\n")
    assert (await describe_files(workspace, sandbox)).count(": what a row is worth in money") == 1
    assert "  Qty * unit_price: what" in await describe_files(workspace, sandbox)


async def test_describe_is_bounded_and_survives_bad_files(workspace: Path, sandbox: BwrapSandbox) -> None:
    (workspace / "a.parquet").write_bytes(b"\x00broken")
    (workspace / "wide.csv").write_text(",".join(f"column_{n}" for n in range(500)) + "\n" + "1," * 499 + "1\n")
    for number in range(30):
        (workspace / f"part{number:02d}.csv").write_text("a,b\n1,2\n")
    described = await describe_files(workspace, sandbox, limit=3_000)
    assert "a.parquet: cannot be read as a table" in described
    assert "More data files: " in described
    assert len(described) < 3_200


async def test_describe_of_nothing_is_empty(tmp_path: Path, sandbox: BwrapSandbox) -> None:
    assert await describe_files(tmp_path, sandbox) == ""
