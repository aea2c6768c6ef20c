"""The list of threads: search, open, rename, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from openhearth.errors import HearthError
from openhearth.tui.clock import Clock
from openhearth.tui.layout import spread
from openhearth.tui.screens.dialogs import ConfirmDialog, TextDialog
from openhearth.tui.session import Session
from openhearth.tui.text import ago, clean_line, plural

if TYPE_CHECKING:
    from openhearth.storage.threads import ThreadSummary

NEW_THREAD = ""
"""What the screen returns when the person wants a new thread."""

_QUIET = {"done", None}
_TONES = {"failed": "$error", "waiting": "$warning", "in_doubt": "$warning", "running": "$warning"}


class ThreadsScreen(ModalScreen[str | None]):
    """Returns a thread's id, NEW_THREAD, or None for staying where one was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("ctrl+n", "new", "New", priority=True),
        Binding("f2", "rename", "Rename"),
        Binding("f8,ctrl+delete", "delete", "Delete"),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
        Binding("down", "move(1)", "Down", show=False, priority=True),
    ]

    def __init__(self, session: Session, clock: Clock, *, current: str | None, locked: str | None) -> None:
        """`locked` is a thread that cannot be deleted, since a run is being executed on it."""
        super().__init__()
        self._session, self._clock = session, clock
        self._current, self._locked = current, locked
        self._shown: Sequence[ThreadSummary] = ()
        self._current_deleted = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="threads"):
            yield Static(Content("Threads"), classes="title")
            yield Input(placeholder="Search titles", compact=True)
            yield OptionList()
            yield Static(classes="empty")
        yield Footer(compact=True, show_command_palette=False)

    async def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = self.app.animation_level != "none"
        self.query_one(OptionList).can_focus = False
        await self._load()

    async def _load(self) -> None:
        search = self.query_one(Input).value
        self._shown = await self._session.threads(search)
        options, at = self.query_one(OptionList), self._selected()
        options.clear_options()
        now, width = self._clock.now(), max(20, options.size.width - 5)
        options.add_options(Option(self._row(thread, now, width), id=thread.id) for thread in self._shown)
        ids = [thread.id for thread in self._shown]
        wanted = at if at in ids else self._current
        options.highlighted = ids.index(wanted) if wanted in ids else 0 if ids else None
        empty = self.query_one(".empty", Static)
        empty.display = not ids
        empty.update(Content("No thread has these words in its title." if search else "There is no thread yet."))
        options.display = bool(ids)

    def _row(self, thread: ThreadSummary, now: datetime, width: int) -> Content:
        mark = "▸ " if thread.id == self._current else "  "
        title = Content.assemble((mark, "$primary"), (clean_line(thread.title) or "Untitled", "bold"))
        facts = [plural(thread.messages, "message")]
        status = Content()
        if thread.last_status not in _QUIET:
            word = (thread.last_status or "").replace("_", " ")
            status = Content.assemble((word, _TONES.get(thread.last_status or "", "$text-muted")), "  ")
        right = Content.assemble(status, ("  ·  ".join([*facts, ago(thread.updated_at, now)]), "$text-muted"))
        return spread(title, right, width)

    def _selected_thread(self) -> ThreadSummary | None:
        selected = self._selected()
        return next((thread for thread in self._shown if thread.id == selected), None)

    def _selected(self) -> str | None:
        option = self.query_one(OptionList).highlighted_option
        return option.id if option is not None else None

    @on(Input.Changed)
    async def _searched(self) -> None:
        await self._load()

    async def on_resize(self) -> None:
        self.call_after_refresh(self._load)

    @on(Input.Submitted)
    def _entered(self) -> None:
        if thread_id := self._selected():
            self.dismiss(thread_id)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        (options.action_cursor_up if step < 0 else options.action_cursor_down)()

    def action_back(self) -> None:
        self.dismiss(NEW_THREAD if self._current_deleted else None)

    def action_new(self) -> None:
        self.dismiss(NEW_THREAD)

    @work
    async def action_rename(self) -> None:
        if (thread := self._selected_thread()) is None:
            return
        title = await self.app.push_screen_wait(TextDialog("Rename thread", thread.title))
        if title is not None:
            await self._change(self._session.rename(thread.id, title))

    @work
    async def action_delete(self) -> None:
        if (thread := self._selected_thread()) is None:
            return
        if thread.id == self._locked:
            self.notify("A run is being executed on it. Stop that first.", title="Not deleted", severity="warning")
            return
        detail = f"{clean_line(thread.title)}\n{plural(thread.messages, 'message')} and their runs go for good."
        if await self.app.push_screen_wait(ConfirmDialog("Delete this thread?", detail, yes="Delete")):
            await self._change(self._session.delete(thread.id))
            self._current_deleted |= thread.id == self._current

    async def _change(self, change: Awaitable[None]) -> None:
        try:
            await change
        except HearthError as error:
            self.notify(error.message, title=error.title, severity="error", markup=False)
        await self._load()
