"""How a run is shown: to a person, or as JSON lines to a program."""

from __future__ import annotations

from typing import Protocol

from openhearth.cli import exit_codes
from openhearth.cli.console import say, write
from openhearth.cli.edge import report
from openhearth.cli.narrator import Narrator
from openhearth.events import Event, RunFinished
from openhearth.storage.tables import ApprovalRow


class View(Protocol):
    """Follows one run, which may stop and go on several times."""

    def event(self, event: Event) -> None: ...

    def stopping(self) -> None: ...

    def close(self) -> None: ...

    def end(self, finished: RunFinished, pending: list[ApprovalRow]) -> None:
        """The run goes no further in this process; `pending` are the questions that it waits for."""
        ...


class JsonView:
    """Every event as one JSON line on stdout. stderr says only why it ended, and how to go on."""

    def event(self, event: Event) -> None:
        write(event.model_dump_json())

    def stopping(self) -> None:
        """Nothing to tell: the stream's end will."""

    def close(self) -> None:
        """Nothing is open."""

    def end(self, finished: RunFinished, pending: list[ApprovalRow]) -> None:
        explain_end(finished, pending)


class TextView:
    """The output on stdout, everything else on stderr."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._narrator = Narrator(quiet=quiet)

    def event(self, event: Event) -> None:
        self._narrator.event(event)

    def stopping(self) -> None:
        self._narrator.stopping()

    def close(self) -> None:
        self._narrator.close()

    def end(self, finished: RunFinished, pending: list[ApprovalRow]) -> None:
        self._narrator.end(finished)
        if finished.status == "done":
            write(finished.output)
        explain_end(finished, pending)


def explain_end(finished: RunFinished, pending: list[ApprovalRow]) -> None:
    """Why a run did not get done, and the commands that go on from here."""
    if finished.status == "failed" and finished.error is not None:
        report(finished.error.title, finished.error.message, finished.error.hint)
    elif finished.status == "cancelled":
        say("Cancelled. What was done so far is kept.")
    elif exit_codes.of_run(finished) == exit_codes.UNDECIDED:
        for row in pending:
            doubt = "It may have happened already. " if row.in_doubt else ""
            say(f"{doubt}{row.call['name']} waits for a decision ({row.id}):", "bold")
            if row.preview:
                say(row.preview)
            say(f"  hearth approve {row.id}" + ("    # run it again" if row.in_doubt else ""))
            say(f'  hearth deny {row.id} --reason "…"' + ("    # do not repeat it" if row.in_doubt else ""))
        if not pending:
            say(f"  hearth resume {finished.run_id}")
