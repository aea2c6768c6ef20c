"""A sandbox that is opened when the first program runs: agents without code tools need none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from openhearth.config import SandboxSettings
from openhearth.tools.base import Sandbox, SandboxResult


class LazySandbox:
    """Implements `openhearth.tools.base.Sandbox`; shared by all runs of a process."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._sandbox: Sandbox | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._sandbox.name if self._sandbox else "not open"

    async def open(self) -> Sandbox:
        """The sandbox, once it has proved itself. Raises SandboxUnavailableError."""
        async with self._opening:
            if self._sandbox is None:
                # Imported on use, like the tools that need it.
                from openhearth.tools.sandbox import open_sandbox

                self._sandbox = await open_sandbox(self._settings)
            return self._sandbox

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: Path,
        files: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        read_only: bool = False,
    ) -> SandboxResult:
        sandbox = await self.open()
        return await sandbox.run(
            argv, workspace=workspace, files=files, stdin=stdin, timeout_s=timeout_s, read_only=read_only
        )
