"""The bwrap sandbox: copy the workspace, run, and take over what changed."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxError, WorkspaceError
from openhearth.tools.base import SandboxResult
from openhearth.tools.runners import runner_source
from openhearth.tools.sandbox import bwrap
from openhearth.tools.sandbox.finish import finish
from openhearth.tools.sandbox.locate import find_bwrap
from openhearth.tools.sandbox.process import Ended, run_bwrap
from openhearth.tools.sandbox.scratch import Scratch, remove
from openhearth.tools.sandbox.seccomp import seccomp_filter
from openhearth.tools.sandbox.staging import NOBODY, find_interpreter, sandbox_user
from openhearth.tools.sandbox.takeover import Outcome, take_over
from openhearth.tools.sandbox.watch import INTERVAL_S, Watch, enough_space
from openhearth.tools.sandbox.workspace import WorkspaceCopy

_USERS = f"agent:x:{NOBODY}:{NOBODY}:agent:{bwrap.HOME}:/bin/sh\n"
_GROUPS = f"agent:x:{NOBODY}:\n"


class BwrapSandbox:
    """Namespaces, seccomp, Landlock and limits through bwrap. Use `open_sandbox`, which proves it first.

    What a command changes in the workspace is applied whenever it ended by itself, with whatever exit code; a command
    that was killed, by a limit or by cancelling, changes nothing.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._bwrap = find_bwrap()
        self._seccomp = seccomp_filter()
        self._interpreter = find_interpreter()
        self._scratch = Scratch()
        self._runtime = self._scratch.folder / "runtime"
        _fill_runtime(self._runtime)

    @property
    def name(self) -> str:
        return "bwrap"

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions beyond the standard library that Python in the sandbox can import."""
        return self._interpreter.packages

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
        """See `openhearth.tools.base.Sandbox`. A command `python FILE …` runs in the launcher's own process."""
        started = time.monotonic()
        folder = self._scratch.new_run()
        try:
            copy = WorkspaceCopy(workspace, folder / "workspace", self._settings, sandbox_user())
            await finish(asyncio.to_thread(_prepare, copy, folder / "input", files or {}))
            ended = await self._execute(argv, copy, folder / "input", stdin, timeout_s, read_only)
            outcome = Outcome((), tuple(copy.notes))
            if ended.exit_code is not None and not read_only:
                outcome = await finish(asyncio.to_thread(take_over, copy))
        finally:
            await finish(asyncio.to_thread(remove, folder))
        return SandboxResult(
            exit_code=ended.exit_code,
            stdout=ended.stdout.text(),
            stderr=ended.stderr.text(),
            truncated=ended.stdout.truncated or ended.stderr.truncated,
            timed_out=ended.timed_out,
            killed_for=ended.killed_for,
            duration_s=time.monotonic() - started,
            changes=outcome.changes,
            notes=outcome.notes,
        )

    async def _execute(
        self,
        argv: Sequence[str],
        copy: WorkspaceCopy,
        inputs: Path,
        stdin: bytes,
        timeout_s: float | None,
        read_only: bool,
    ) -> Ended:
        settings = self._settings
        limit_s = min(timeout_s or settings.timeout_s, settings.timeout_s)
        layout = bwrap.Layout(copy.target, inputs, self._runtime, read_only)
        return await run_bwrap(
            self._bwrap,
            bwrap.arguments(layout, self._interpreter, settings),
            lambda host: bwrap.command(argv, self._interpreter, settings, host, read_only=read_only, timeout_s=limit_s),
            seccomp=self._seccomp,
            stdin=stdin,
            output_limit=settings.output_kb << 10,
            timeout_s=limit_s,
            watch=functools.partial(_watch, copy.target, settings),
            interval_s=INTERVAL_S,
        )


def _watch(workspace: Path, settings: SandboxSettings, init: int) -> Watch:
    return Watch(init, workspace, settings)


def _prepare(copy: WorkspaceCopy, inputs: Path, files: Mapping[str, bytes]) -> None:
    if not enough_space(inputs.parent):
        raise SandboxError(
            f"The disk of {inputs.parent} is almost full.", hint="Make space there, or set TMPDIR to another disk."
        )
    if not copy.source.is_dir():
        raise WorkspaceError(f"There is no folder {copy.source}.", hint="Name a workspace that exists.")
    inputs.mkdir()
    inputs.chmod(0o755)
    for name, content in files.items():
        if name in ("", ".", "..") or "/" in name:
            raise SandboxError(f"{name} is not a plain file name.")
        _write_readable(inputs / name, content)
    copy.copy()


def _fill_runtime(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    _write_readable(folder / "launch.py", runner_source("launch.py"))
    _write_readable(folder / "passwd", _USERS.encode())
    _write_readable(folder / "group", _GROUPS.encode())


def _write_readable(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o644)
