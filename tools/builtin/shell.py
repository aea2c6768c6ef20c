"""shell: run a POSIX shell script in the sandbox, over the workspace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openhearth.tools.base import ToolContext
from openhearth.tools.builtin.running import present, without_fence
from openhearth.tools.function import tool
from openhearth.types import ToolOutput


@tool(language="sh")
async def shell(
    command: Annotated[str, Field(description="Commands for /bin/sh.")],
    context: ToolContext,
) -> ToolOutput:
    """Run shell commands in the workspace and return what they print. There is no network."""
    result = await context.sandbox.run(
        ["sh", "/input/script.sh"],
        workspace=context.workspace,
        files={"script.sh": without_fence(command).encode("utf-8", "replace")},
    )
    return present(result, context, quiet="The commands ended well and printed nothing.")
