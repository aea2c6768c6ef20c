"""`hearth doctor`: does everything that OpenHearth stands on really work here?"""

from __future__ import annotations

import dataclasses

import typer

from openhearth.cli.options import JsonOption


def doctor(json: JsonOption = False) -> None:
    """Check Python, torch, sandbox, database, models and disk; exit code 0 when an agent can work here."""
    from openhearth.cli.checks import run_checks
    from openhearth.cli.console import write, write_json

    exit_code = 0
    for check in run_checks():
        if json:
            write_json(dataclasses.asdict(check))
        else:
            write(f"{check.state:<8} {check.name:<12} {check.detail}")
            for line in check.hint.splitlines():
                write(" " * 22 + line)
        exit_code = exit_code or check.exit_code
    raise typer.Exit(exit_code)
