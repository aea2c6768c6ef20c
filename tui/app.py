"""The Textual app behind `hearth chat`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from openhearth.config import Settings
from openhearth.errors import HearthError
from openhearth.paths import ensure_private, state_dir
from openhearth.tui.clock import Clock
from openhearth.tui.driver import Phase, explain
from openhearth.tui.screens.chat import ChatScreen
from openhearth.tui.session import Session
from openhearth.tui.theme import DARK, LIGHT, THEMES
from openhearth.types import ApprovalPolicy

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_QUIT_WITHIN_S = 2.0
"""A second Ctrl+C within this time quits."""


_CLOSE_WITHIN_S = 5.0


class Progress(Message):
    """The runtime or the model said how far it is; `share` is None where the end is unknown."""

    def __init__(self, what: str, share: float | None) -> None:
        super().__init__()
        self.what, self.share = what, share


class HearthApp(App[None]):
    """The chat. The first screen is drawn before anything heavy is imported; the model loads behind it."""

    TITLE = "OpenHearth"
    CSS_PATH: ClassVar[list[str | PurePath]] = sorted(_HERE.glob("*/*.tcss"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", priority=True, show=False),
        Binding("ctrl+c", "interrupt", "Stop or quit", show=False, system=True),
    ]
    CLOSE_TIMEOUT = 10.0

    def __init__(self, session: Session, *, thread_id: str | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self.session = session
        self.clock = clock or Clock()
        self.chat = ChatScreen(session)
        self._first_thread = thread_id
        self._interrupted_at = float("-inf")
        self._leaving = False
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK.name

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    def on_mount(self) -> None:
        self.call_after_refresh(self.open_session)

    # -- opening

    @work(exclusive=True, group="open")
    async def open_session(self) -> None:
        """Open the database, load the model, then show the thread that was asked for."""
        driver = self.chat.driver
        driver.become(Phase.OPENING, "opening")
        try:
            await self.session.open(self._report)
            driver.become(Phase.OPENING, "loading the model")
            driver.meters.know(await self.session.load_model(self._report))
        except Exception as error:
            if not isinstance(error, HearthError):
                _log.exception("opening failed")
            driver.become(Phase.BROKEN, explain(error).title.lower())
            await self.chat.show_error(explain(error))
        else:
            wanted, self._first_thread = self._first_thread, None
            await self.chat.open_thread(wanted)

    def _report(self, what: str, done: int, total: int) -> None:
        """A ProgressCallback: called from any thread, so it only posts."""
        self.post_message(Progress(what, done / total if total else None))

    def on_progress(self, event: Progress) -> None:
        driver = self.chat.driver
        if driver.phase is Phase.OPENING:
            driver.become(Phase.OPENING, event.what, event.share)

    # -- stopping

    def action_interrupt(self) -> None:
        """Stop the running turn; where there is none, or on a second press, quit."""
        again = self.clock.monotonic() - self._interrupted_at < _QUIT_WITHIN_S
        self._interrupted_at = self.clock.monotonic()
        if again:
            self.run_worker(self.action_quit(), group="quit", exclusive=True)
        elif not self.chat.driver.stop():
            self.notify("Press Ctrl+C again to quit.", timeout=_QUIT_WITHIN_S)

    async def action_quit(self) -> None:
        """End a running turn as cancelled, close the database, and leave. A second time leaves at once."""
        if self._leaving:
            self.exit()
            return
        self._leaving = True
        self.chat.driver.become(Phase.STOPPING, "closing")
        await self._close()
        self.exit()

    async def on_unmount(self) -> None:
        # However the app ends, the run ends as cancelled and the database is closed.
        await self._close()

    async def _close(self) -> None:
        try:
            await self.chat.driver.aclose()
            await asyncio.wait_for(self.session.close(), _CLOSE_WITHIN_S)
        except Exception:
            _log.exception("closing failed")

    def _fatal_error(self) -> None:
        """An unforeseen exception: a sentence and a log instead of a screen full of traceback."""
        _log.critical("the interface broke", exc_info=True)
        lines = [f"OpenHearth's interface broke. What it did is kept; the details are in {log_file()}."]
        if run_id := self.chat.driver.run_id:
            lines.append(f"`hearth resume {run_id}` goes on with the last run if it had not ended.")
        self.panic(Text("\n".join(lines)))

    # -- palette

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Threads", "Search, open, rename and delete threads", self.chat.action_threads)
        yield SystemCommand("New thread", "Begin another conversation", self.chat.action_new_thread)
        yield SystemCommand("Rename thread", "Give this thread another title", self.chat.action_rename)
        yield SystemCommand(
            "Copy last reply", "Put the last reply's Markdown on the clipboard", self.chat.action_copy_reply
        )
        yield SystemCommand("Copy last code", "Copy the last code block to the clipboard", self.chat.action_copy_code)
        yield SystemCommand("Light or dark", "Switch between the two themes of OpenHearth", self.action_other_theme)
        yield from super().get_system_commands(screen)

    def action_other_theme(self) -> None:
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name


def run_app(
    settings: Settings,
    *,
    model: str | None = None,
    workspace: Path | None = None,
    approve: ApprovalPolicy | None = None,
    thread_id: str | None = None,
    tools: Sequence[str] | None = None,
) -> int:
    """Run the chat until the person leaves; the return value is the process's exit code.

    `thread_id` (or a unique part of one) names the thread to open; None begins a new one. `tools` names built-in
    tools; None means all of them.
    """
    ensure_private(log_file().parent)
    handler = logging.FileHandler(log_file(), encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("openhearth")
    logger.addHandler(handler)
    try:
        session = Session(settings, model=model, workspace=workspace, approve=approve, tools=tools)
        app = HearthApp(session, thread_id=thread_id)
        app.run()
    finally:
        logger.removeHandler(handler)
        handler.close()
    if left := app.chat.driver.thread_id:
        print(f"To go on with this thread: hearth chat --thread {left}", file=sys.stderr)
    return app.return_code or 0


def log_file() -> Path:
    """Where unforeseen errors are written down."""
    return state_dir() / "tui.log"
