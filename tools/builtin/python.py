"""python: run code in the sandbox, over the workspace."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.running import present, without_fence
from openhearth.tools.function import tool
from openhearth.tools.runners import runner_source
from openhearth.types import ToolOutput

_ASSIGNMENT = re.compile(r"^([A-Za-z_]\w*)(?:\s*:[^=]+)?\s*[-+*/|&]?=(?!=)", re.MULTILINE)


@tool(language="python")
async def python(
    code: Annotated[str, Field(description="A whole Python program that prints its result.")],
    context: ToolContext,
) -> ToolOutput:
    """Run a Python program over the workspace's files and return what it prints. Each program starts afresh."""
    code = without_fence(code)
    result = await context.sandbox.run(
        ["python", "/input/run_python.py"],
        workspace=context.workspace,
        files={"run_python.py": runner_source("run_python.py"), "script.py": code.encode("utf-8", "replace")},
    )
    assigned = _ASSIGNMENT.findall(code)
    example = f"print({assigned[-1]})" if assigned else "print()"
    return present(
        result, context, quiet=f"The program ended well but printed nothing. Print the result, for example {example}."
    )
