"""`hearth doctor`: does everything that OpenHearth stands on really work here?"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from openhearth.cli.options import JsonOption


def doctor(
    json: JsonOption = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="Check this torch device alone, kernel by kernel; `auto` takes the best."
        ),
    ] = None,
) -> None:
    """Check Python, torch, the device, sandbox, database, models and disk; exit code 0 when an agent can work here.

    With --device, each kernel that the engine uses and a tiny model are compared with what is right: the largest
    difference, as a share of the largest value, and how much of it is allowed. Exit code 1 when something is wrong.
    """
    raise typer.Exit(_check_everything(json=json) if device is None else _check_device(device, json=json))


def _check_everything(*, json: bool) -> int:
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
    return exit_code


def _check_device(name: str, *, json: bool) -> int:
    from openhearth.cli import exit_codes
    from openhearth.cli.console import say, write, write_json
    from openhearth.cli.device_checks import describe, device_verdicts

    total = wrong = 0
    for verdict in device_verdicts(name):
        total += 1
        wrong += not verdict.ok
        if json:
            write_json(dataclasses.asdict(verdict))
            continue
        write(describe(verdict))
        if verdict.detail:
            write(" " * 9 + verdict.detail)
    say(f"{total - wrong} of {total} checks hold." if wrong else f"All {total} checks hold.")
    return exit_codes.FAILED if wrong else exit_codes.DONE
