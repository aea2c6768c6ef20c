"""`hearth chat`: the terminal interface."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from openhearth.cli.options import (
    ApproveOption,
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ThreadOption,
    WorkspaceOption,
    settings_with,
)
from openhearth.errors import ConfigError


def chat(
    workspace: WorkspaceOption = Path(),
    model: ModelOption = None,
    approve: ApproveOption = None,
    thread: ThreadOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Talk with an agent in the terminal; threads are kept and can be opened again."""
    settings = settings_with(model={"device": device, "precision": precision})
    # Textual reads keys from stdin and draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise ConfigError("`hearth chat` needs a terminal.", hint='Without one, use hearth run "TASK" [--thread ID].')
    if not workspace.is_dir():
        raise ConfigError(f"The workspace {workspace} is not a folder.", hint="Make it first, or name another one.")
    from openhearth.models.reference import absolute_reference, resolve_reference
    from openhearth.tui.app import run_app

    reference = absolute_reference(model or settings.model.default)
    resolve_reference(reference)  # a mistyped name is told here, before the screen is taken
    raise typer.Exit(run_app(settings, model=reference, workspace=workspace, approve=approve, thread_id=thread))
