"""What the workspace's data files hold, as part of a prompt: a model must see data before it writes code for it."""

from __future__ import annotations

from pathlib import Path

from openhearth.tools.base import Sandbox
from openhearth.tools.runners import runner_source
from openhearth.tools.text import elide

_RUNNERS = ("describe_data.py", "data_files.py")


async def describe_files(workspace: Path, sandbox: Sandbox, *, limit: int = 4_000) -> str:
    """For each CSV, JSON and Parquet file its path, row count, columns with types, and first rows.

    At most about `limit` characters; empty when there are no such files. The files are read in the sandbox, since
    they may be hostile. Raises SandboxError and WorkspaceError.
    """
    result = await sandbox.run(
        ["python", "/input/describe_data.py"],
        workspace=workspace,
        files={name: runner_source(name) for name in _RUNNERS},
        read_only=True,
    )
    return elide(result.stdout.strip(), limit)[0]
