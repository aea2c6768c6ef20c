"""The seams of tools: what a tool is, what it is handed, and what runs code for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openhearth.types import FileChange, ToolOutput, ToolSpec


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What one sandboxed command did. `stdout` and `stderr` are capped and stripped of terminal escapes.

    `exit_code` is None when the command was killed (`timed_out`, or `killed_for` says which limit it broke).
    `changes` are the workspace's files that differ afterwards; they have been applied to the workspace. A command
    that was killed changes nothing. `notes` name what was not copied or not applied, and why.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    timed_out: bool
    killed_for: str
    duration_s: float
    changes: tuple[FileChange, ...]
    notes: tuple[str, ...] = ()


class Sandbox(Protocol):
    """Runs a command over a copy of a workspace; the network is off and nothing else of the host is visible.

    Cancelling the awaiting task kills everything inside. Raises SandboxUnavailableError or SandboxError.
    """

    @property
    def name(self) -> str: ...

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
        """Run `argv` in `/workspace`. `files` are placed read-only in `/input`, outside the workspace.

        With `read_only` the copy of the workspace cannot be written either, and nothing is applied afterwards.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a call is handed. `idempotency_key` is the same whenever the same call is executed again."""

    workspace: Path
    sandbox: Sandbox
    run_id: str
    call_id: str
    idempotency_key: str
    output_limit: int = 8_000
    """Characters of a result that the model is shown."""


class Tool(Protocol):
    """A tool. `arguments` given to `call` and `preview` have been validated by `validate`."""

    @property
    def spec(self) -> ToolSpec: ...

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, checked against the schema and coerced. Raises InvalidArgumentsError."""
        ...

    async def preview(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """What approving means: a unified diff, or the source that would run. Changes nothing."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Do it. A failure that the model can mend is an output with `ok=False`; a ToolError says the same."""
        ...
