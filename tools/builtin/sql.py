"""sql: DuckDB over the workspace's data files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.running import present, without_fence
from openhearth.tools.function import tool
from openhearth.tools.runners import runner_source
from openhearth.types import ToolOutput


@tool(language="sql", read_only=True)
async def sql(
    query: Annotated[str, Field(description="DuckDB SQL, for example SELECT count(*) FROM orders.")],
    context: ToolContext,
) -> ToolOutput:
    """Query the workspace's CSV, JSON and Parquet files with SQL. The file orders.csv is the table orders."""
    result = await context.sandbox.run(
        ["python", "/input/run_sql.py"],
        workspace=context.workspace,
        files={
            "run_sql.py": runner_source("run_sql.py"),
            "data_files.py": runner_source("data_files.py"),
            "query.sql": without_fence(query).encode("utf-8", "replace"),
        },
        read_only=True,
    )
    return present(result, context, quiet="The query ended well and returned nothing.")
