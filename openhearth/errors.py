"""Every error that OpenHearth raises on purpose.

    HearthError
    ├── ConfigError                 settings or command-line usage that cannot be accepted
    ├── NotFoundError               an id or a name that nothing answers to
    ├── ModelError
    │   ├── ModelUnavailableError   no such model, or it cannot be fetched, opened or reached
    │   │   ├── DownloadError       a source failed or was interrupted
    │   │   ├── IntegrityError      the bytes are not the ones the catalog promises
    │   │   └── RemoteModelError    a remote server refused or vanished
    │   ├── MalformedFileError      a model file that breaks its own format
    │   └── ContextOverflowError    the rendered prompt does not fit the context
    ├── ToolError
    │   ├── UnknownToolError        the model named a tool that is not on offer
    │   ├── InvalidArgumentsError   arguments that do not fit the tool's schema
    │   └── WorkspaceError          a path outside the workspace, or one that may not be touched
    ├── SandboxError
    │   └── SandboxUnavailableError no sandbox that proves itself; never a silent downgrade
    ├── StorageError
    │   ├── DiskFullError           the disk is full; nothing was lost
    │   └── NewerSchemaError        the database was written by a newer OpenHearth
    └── RunError
        ├── ApprovalRequiredError   the run waits for a person
        ├── InDoubtError            a side effect may or may not have happened
        ├── BudgetExceededError     tokens, time, steps or calls are spent
        ├── RunBusyError            another process is executing this run
        └── CancelledError          somebody stopped it

`message` says what happened, `hint` what to do next, `code` is the stable name used in events, JSON and the
database. Exit codes are mapped from `code` at the command line's edge only (`openhearth/cli/exit_codes.py`).
"""

from __future__ import annotations

from typing import ClassVar


class HearthError(Exception):
    """Base of the tree. Its text is `message`, then `hint` on a line of its own."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(HearthError):
    code = "config"
    title = "Bad configuration"


class NotFoundError(HearthError):
    code = "not_found"
    title = "Not found"


class ModelError(HearthError):
    code = "model"
    title = "Model error"


class ModelUnavailableError(ModelError):
    code = "model_unavailable"
    title = "Model unavailable"


class DownloadError(ModelUnavailableError):
    code = "download"
    title = "Download failed"


class IntegrityError(ModelUnavailableError):
    code = "integrity"
    title = "Wrong bytes"


class RemoteModelError(ModelUnavailableError):
    code = "remote_model"
    title = "Remote model failed"


class MalformedFileError(ModelError):
    code = "malformed_file"
    title = "Malformed model file"


class ContextOverflowError(ModelError):
    code = "context_overflow"
    title = "Context too small"


class ToolError(HearthError):
    code = "tool"
    title = "Tool failed"


class UnknownToolError(ToolError):
    code = "unknown_tool"
    title = "Unknown tool"


class InvalidArgumentsError(ToolError):
    code = "invalid_arguments"
    title = "Invalid arguments"


class WorkspaceError(ToolError):
    code = "workspace"
    title = "Outside the workspace"


class SandboxError(HearthError):
    code = "sandbox"
    title = "Sandbox error"


class SandboxUnavailableError(SandboxError):
    code = "sandbox_unavailable"
    title = "Sandbox unavailable"


class StorageError(HearthError):
    code = "storage"
    title = "Storage error"


class DiskFullError(StorageError):
    code = "disk_full"
    title = "Disk full"


class NewerSchemaError(StorageError):
    code = "newer_schema"
    title = "Database is newer"


class RunError(HearthError):
    code = "run"
    title = "Run failed"


class ApprovalRequiredError(RunError):
    code = "approval_required"
    title = "Approval needed"


class InDoubtError(RunError):
    code = "in_doubt"
    title = "Outcome in doubt"


class BudgetExceededError(RunError):
    code = "budget"
    title = "Budget spent"


class RunBusyError(RunError):
    code = "run_busy"
    title = "Run is busy"


class CancelledError(RunError):
    code = "cancelled"
    title = "Cancelled"
