"""Follows a run to its end: shows its events, asks for approvals, and stops it on Ctrl-C."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from openhearth.agents.runtime import Runtime
from openhearth.cli import exit_codes
from openhearth.cli.asking import ask
from openhearth.cli.progress import ProgressDisplay
from openhearth.cli.views import View
from openhearth.config import Settings
from openhearth.events import Event, RunFinished
from openhearth.storage import approvals
from openhearth.storage.tables import ApprovalRow

_LONGEST_LINE = 4096  # what a terminal hands over at most, in bytes

Start = Callable[[Runtime], AsyncGenerator[Event, None]]


def drive(start: Start, settings: Settings, view: View, *, quiet: bool, interactive: bool) -> int:
    """Run the stream that `start` opens, and whatever follows from approvals. Returns the exit code."""
    return asyncio.run(_drive(start, settings, view, quiet=quiet, interactive=interactive))


async def _drive(start: Start, settings: Settings, view: View, *, quiet: bool, interactive: bool) -> int:
    with ProgressDisplay(quiet=quiet) as progress:
        async with await Runtime.open(settings, progress=progress) as runtime:
            interrupts = _Interrupts(runtime, view, progress)
            with interrupts.handled():
                stream = start(runtime)
                while True:
                    finished = await _follow(stream, view, interrupts, progress)
                    pending = _pending(runtime, finished)
                    if not (interactive and pending and await _decide(runtime, pending, interrupts)):
                        view.end(finished, pending)
                        left = bool(pending) and interrupts.count > 0
                        return exit_codes.CANCELLED if left else exit_codes.of_run(finished)
                    stream = runtime.resume(finished.run_id)


async def _follow(
    stream: AsyncGenerator[Event, None], view: View, interrupts: _Interrupts, progress: ProgressDisplay
) -> RunFinished:
    finished: RunFinished | None = None
    try:
        async with aclosing(stream):
            async for event in stream:
                progress.close()
                interrupts.run_id = event.run_id
                view.event(event)
                if isinstance(event, RunFinished):
                    finished = event
    finally:
        interrupts.run_id = ""
        view.close()
    if finished is None:
        raise RuntimeError("the run's stream ended without RunFinished")
    return finished


def _pending(runtime: Runtime, finished: RunFinished) -> list[ApprovalRow]:
    if finished.status not in ("waiting", "in_doubt"):
        return []
    with runtime.store.read() as session:
        return list(approvals.pending(session, finished.run_id))


async def _decide(runtime: Runtime, pending: list[ApprovalRow], interrupts: _Interrupts) -> bool:
    """Ask about each; False when the person left a question open."""
    for row in pending:
        decision = await ask(row, interrupts.read_line)
        if decision is None:
            return False
        await runtime.decide(row.id, approve=decision.approve, reason=decision.reason, by=whoami())
    return True


def whoami() -> str:
    """The user's name, for the record of who decided."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return str(os.getuid())


class _Interrupts:
    """Ctrl-C and SIGTERM: the first stops the run and lets it be recorded, the second quits at once."""

    def __init__(self, runtime: Runtime, view: View, progress: ProgressDisplay) -> None:
        self.run_id = ""
        self.count = 0
        self._line: asyncio.Future[str | None] | None = None
        self._runtime = runtime
        self._view = view
        self._progress = progress

    @contextmanager
    def handled(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def read_line(self) -> str | None:
        """A line from the keyboard; None on Ctrl-C and at the end of input.

        Ctrl-C comes through the event loop. `input()` loses one that falls between its last look and its read.
        """
        loop = asyncio.get_running_loop()
        keyboard = sys.stdin.fileno()
        self._line = loop.create_future()
        loop.add_reader(keyboard, self._typed, keyboard)
        try:
            return await self._line
        finally:
            loop.remove_reader(keyboard)
            self._line = None

    def _typed(self, keyboard: int) -> None:
        if self._line is not None and not self._line.done():
            self._line.set_result(os.read(keyboard, _LONGEST_LINE).decode(errors="replace") or None)

    def _stop(self) -> None:
        self.count += 1
        if self._line is not None and self.count == 1:
            if not self._line.done():
                self._line.set_result(None)
            return
        if self.run_id and self.count == 1:
            self._view.stopping()
            self._runtime.cancel(self.run_id)
            return
        # Nothing is recorded yet, or the person does not want to wait: every file is safe against that.
        self._view.close()
        self._progress.close()
        os._exit(exit_codes.CANCELLED)
