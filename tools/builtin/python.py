"""python: run code in the sandbox, over the workspace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.running import present
from openhearth.tools.function import tool
from openhearth.tools.runners import runner_source
from openhearth.types import ToolOutput


@tool(language="python")
async def python(
    code: Annotated[str, Field(description="A whole Python program that prints its result.")],
    context: ToolContext,
) -> ToolOutput:
    """Run a Python program over the workspace's files and return what it prints. Each program starts afresh."""
    result = await context.sandbox.run(
        ["python", "/input/run_python.py"],
        workspace=context.workspace,
        files={"run_python.py": runner_source("run_python.py"), "script.py": code.encode("utf-8", "replace")},
    )
    return present(result, context, quiet="The program ended well but printed nothing. Print the result with print().")
