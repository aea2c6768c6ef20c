"""`hearth resume`, `hearth approve` and `hearth deny`: going on with runs that stand still."""

from __future__ import annotations

from typing import Annotated

import typer

from openhearth.cli.options import JsonOption, QuietOption, settings_with

ApprovalArgument = Annotated[str, typer.Argument(metavar="ID", help="The approval's id; part of it will do.")]
NoContinueOption = Annotated[bool, typer.Option("--no-continue", help="Only keep the decision; resume the run later.")]


def resume(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id; part of it will do.")],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a RUN that waits, is in doubt, or lost its process."""
    settings = settings_with()
    _prepare(run_id, quiet=quiet)
    from openhearth.cli.run import start_and_follow

    start_and_follow(lambda runtime: runtime.resume(run_id), settings, json=json, quiet=quiet)


def approve(
    approval_id: ApprovalArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept with the decision.")] = "",
    no_continue: NoContinueOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let the call that ID asks about run, and go on with its run."""
    _decide(approval_id, approved=True, reason=reason, go_on=not no_continue, json=json, quiet=quiet)


def deny(
    approval_id: ApprovalArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="The model is told why.")] = "",
    no_continue: NoContinueOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Refuse the call that ID asks about, and go on with its run."""
    _decide(approval_id, approved=False, reason=reason, go_on=not no_continue, json=json, quiet=quiet)


def _decide(approval_id: str, *, approved: bool, reason: str, go_on: bool, json: bool, quiet: bool) -> None:
    settings = settings_with()
    import asyncio

    from openhearth.agents.runtime import Runtime
    from openhearth.cli.console import say, write_json
    from openhearth.cli.drive import whoami
    from openhearth.cli.run import start_and_follow

    async def record() -> tuple[str, str, str]:
        async with await Runtime.open(settings) as runtime:
            row = await runtime.decide(approval_id, approve=approved, reason=reason, by=whoami())
            return row.id, row.run_id, row.status

    decided, run_id, status = asyncio.run(record())
    if go_on:
        _prepare(run_id, quiet=quiet)
        start_and_follow(lambda runtime: runtime.resume(run_id), settings, json=json, quiet=quiet)
    elif json:
        write_json({"approval_id": decided, "run_id": run_id, "status": status})
    else:
        say(f"{decided} is {status}. Go on with: hearth resume {run_id}")


def _prepare(run_id: str, *, quiet: bool) -> None:
    """Fetch the run's model if it has been removed meanwhile."""
    from openhearth.cli.run import pull_first
    from openhearth.cli.state import opened
    from openhearth.storage import runs

    with opened() as store, store.read() as session:
        model = runs.get(session, run_id).agent.get("model")
    if isinstance(model, str):
        pull_first(model, settings_with(), quiet=quiet)
