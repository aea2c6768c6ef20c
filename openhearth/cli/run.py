"""`hearth run`: give an agent a task, and wait for the answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openhearth.cli.options import (
    ApproveOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    ThreadOption,
    WorkspaceOption,
    settings_with,
)
from openhearth.errors import ConfigError

if TYPE_CHECKING:
    from openhearth.cli.drive import Start
    from openhearth.config import Settings

_LIMITS = "Limits"


def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to do, in words. `-` reads it from stdin.")],
    workspace: WorkspaceOption = Path(),
    model: ModelOption = None,
    approve: ApproveOption = None,
    thread: ThreadOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", metavar="NAME", help="Offer this tool only; may be repeated.")
    ] = None,
    instructions: Annotated[str, typer.Option("--instructions", metavar="TEXT", help="Added to every request.")] = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Makes sampling repeatable.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0 is greedy.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Model rounds.")] = None,
    max_tool_calls: Annotated[int | None, typer.Option("--max-tool-calls", help="Executed tool calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Tokens of all rounds together.")] = None,
    max_reply_tokens: Annotated[int | None, typer.Option("--max-reply-tokens", help="Tokens of one round.")] = None,
    max_time: Annotated[float | None, typer.Option("--max-time", metavar="SECONDS", help="Seconds of work.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Give an agent a TASK and print its answer.

    stdout carries the answer alone (with --json: every event, one JSON object a line); stderr tells what happens.

    Exit codes: 0 done, 1 failed, 2 usage, 3 needs a decision, 4 budget spent, 5 model unavailable, 6 sandbox
    unavailable, 130 cancelled.
    """
    settings = settings_with(
        model={"device": device, "precision": precision},
        agent={
            "seed": seed,
            "temperature": temperature,
            "max_steps": max_steps,
            "max_tool_calls": max_tool_calls,
            "max_tokens": max_tokens,
            "max_reply_tokens": max_reply_tokens,
            "max_time_s": max_time,
        },
    )
    words = _task(task)
    from openhearth.agents.spec import AgentSpec
    from openhearth.models.reference import absolute_reference

    spec = AgentSpec.from_settings(
        settings,
        # The run remembers it, and may be resumed from another folder.
        model=absolute_reference(model or settings.model.default),
        workspace=workspace,
        approve=approve,
        tools=tool,
        instructions=instructions,
    )
    pull_first(spec.model, settings, quiet=quiet)
    start_and_follow(lambda runtime: runtime.run(words, spec, thread_id=thread), settings, json=json, quiet=quiet)


def start_and_follow(start: Start, settings: Settings, *, json: bool, quiet: bool) -> None:
    """Follow the run that `start` opens to its end, and leave with its exit code."""
    from openhearth.cli.console import is_interactive
    from openhearth.cli.drive import drive
    from openhearth.cli.views import JsonView, TextView

    view = JsonView() if json else TextView(quiet=quiet)
    raise typer.Exit(drive(start, settings, view, quiet=quiet, interactive=not json and is_interactive()))


def pull_first(reference: str, settings: Settings, *, quiet: bool) -> None:
    """Fetch a model that is not here yet, where Ctrl-C can stop it cleanly: before any run exists."""
    from openhearth.models.pull import find_store, pull, resolve_reference

    if not (settings.model.auto_pull and resolve_reference(reference).is_local and not find_store(reference, settings)):
        return
    from openhearth.cli.progress import ProgressDisplay

    with ProgressDisplay(quiet=quiet) as progress:
        pull(reference, settings, progress)


def _task(task: str) -> str:
    if task == "-":
        try:
            task = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError("The task on stdin is not UTF-8 text.") from error
    if not task.strip():
        raise ConfigError("The task is empty.", hint='Say what to do: hearth run "Summarise notes.txt."')
    return task.strip()
