"""The chat: a conversation, a place to write, and what is going on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from openhearth.errors import HearthError
from openhearth.events import ApprovalRequested, Event
from openhearth.tui.driver import Driver, Phase, explain
from openhearth.tui.screens.dialogs import TextDialog
from openhearth.tui.screens.threads import NEW_THREAD, ThreadsScreen
from openhearth.tui.session import RunSummary, Session
from openhearth.tui.text import clean_line, short_path, short_reference
from openhearth.tui.widgets.conversation import MAX_TURNS, PAGE, Conversation, EarlierTurns
from openhearth.tui.widgets.decision import ApprovalPanel, Decision, ResumePanel
from openhearth.tui.widgets.prompt import Prompt
from openhearth.tui.widgets.queue import QueuedMessages
from openhearth.tui.widgets.status_bar import StatusBar
from openhearth.tui.widgets.title_bar import TitleBar
from openhearth.tui.widgets.tool_card import ToolCard
from openhearth.tui.widgets.turn import TurnView
from openhearth.tui.widgets.welcome import Welcome
from openhearth.types import ErrorInfo

if TYPE_CHECKING:
    from openhearth.tui.app import HearthApp

_TONES = {
    Phase.READY: "success",
    Phase.RUNNING: "primary",
    Phase.STOPPING: "warning",
    Phase.WAITING: "warning",
    Phase.INTERRUPTED: "warning",
    Phase.BROKEN: "error",
}
_TICK_S = 0.25


class ChatScreen(Screen[None]):
    """Implements `RunView`: the driver tells it what to show."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop"),
        Binding("ctrl+t", "threads", "Threads"),
        Binding("ctrl+n", "new_thread", "New"),
        Binding("ctrl+y", "copy_reply", "Copy"),
        Binding("ctrl+o", "fold", "Fold"),
        Binding("f2", "rename", "Rename", show=False),
        Binding("f3", "decide", "Decide"),
        Binding("pageup", "scroll_conversation(-1)", "Page up", show=False),
        Binding("pagedown", "scroll_conversation(1)", "Page down", show=False),
        Binding("ctrl+home", "conversation_top", "Top", show=False),
        Binding("ctrl+end", "conversation_bottom", "Bottom", show=False),
    ]
    AUTO_FOCUS = "Prompt"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 -- declared by the base class

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.driver = Driver(session, self)
        self._conversation = Conversation()
        self._prompt = Prompt()
        self._status, self._title, self._queued = StatusBar(), TitleBar(), QueuedMessages()
        self._below = Static(Content("more below  ·  Ctrl+End follows"), id="below")
        self._folded = False
        self._phase = Phase.OPENING

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._conversation
        with Vertical(id="bottom"):
            yield self._below
            yield self._queued
            yield self._prompt
        yield self._status
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        self._title.model = short_reference(self.session.reference)
        await self._conversation.show([], [], self._welcome())
        self.changed()
        self.set_interval(_TICK_S, self._tick)

    # -- RunView

    async def begin_turn(self, task: str) -> None:
        await self._conversation.begin(TurnView(task))

    async def show_event(self, event: Event) -> None:
        turn = self._conversation.last_turn
        if turn is None or not self.is_running or turn.run_id not in {"", event.run_id}:
            return
        await turn.apply(event)
        if self._title.thread == "" and self.driver.thread_id:
            await self._show_title()

    async def show_error(self, error: ErrorInfo) -> None:
        if not self.is_running:
            return
        turn = self._conversation.last_turn
        if turn is None:
            turn = TurnView("")
            await self._conversation.begin(turn)
        await turn.fail(error)

    async def ask(self, question: ApprovalRequested) -> None:
        await self._show_decision(ApprovalPanel(question))

    def give_back(self, texts: list[str]) -> None:
        self._prompt.put("\n".join(texts))

    def changed(self) -> None:
        if not self.is_mounted:
            return
        driver = self.driver
        self._status.show(driver.activity, _TONES.get(driver.phase, "text-muted"), driver.meters, driver.share)
        self._queued.show(driver.queue)
        if driver.phase is not self._phase:
            # Only then: it draws the footer anew, and this is called for every token.
            self._phase = driver.phase
            self.refresh_bindings()

    # -- threads

    async def open_thread(self, thread_id: str | None) -> None:
        """Show a thread, or an empty new one, and continue where its last run stands.

        A thread that cannot be read becomes a new one and a message.
        """
        runs: list[RunSummary] = []
        failure: ErrorInfo | None = None
        try:
            if thread_id is not None:
                thread_id = await self.session.find_thread(thread_id)
                runs = await self.session.runs(thread_id)
        except HearthError as error:
            thread_id, failure = None, explain(error)
        recent, hidden = runs[-MAX_TURNS:], [run.id for run in runs[:-MAX_TURNS]]
        turns = [await self._replay(run, folded=run is not recent[-1]) for run in recent]
        await self._hide_decision()
        await self._conversation.show(turns, hidden, self._welcome())
        self._prompt.remember(run.task for run in runs)
        await self.driver.enter(thread_id, runs[-1] if runs else None)
        if runs:
            self.driver.meters.recall(await self.session.events(runs[-1].id))
        self.changed()
        await self._show_title()
        if self.driver.phase is Phase.INTERRUPTED:
            await self._show_decision(ResumePanel(elsewhere=runs[-1].owned))
        if failure is not None:
            await self.show_error(failure)

    async def _replay(self, run: RunSummary, *, folded: bool) -> TurnView:
        return await TurnView.replay(run.id, run.task, await self.session.events(run.id), folded=folded)

    @on(EarlierTurns.Wanted)
    async def _load_earlier(self) -> None:
        wanted = set(self._conversation.hidden[-PAGE:])
        runs = [run for run in await self.session.runs(self.driver.thread_id or "") if run.id in wanted]
        await self._conversation.prepend([await self._replay(run, folded=True) for run in runs])

    @work(exclusive=True, group="threads")
    async def action_threads(self) -> None:
        if self.driver.phase in {Phase.OPENING, Phase.BROKEN}:
            self.notify("OpenHearth is not open yet.", severity="warning")
            return
        thread_id = self.driver.thread_id
        locked = thread_id if self.driver.busy else None
        chosen = await self.app.push_screen_wait(
            ThreadsScreen(self.session, self.hearth.clock, current=thread_id, locked=locked)
        )
        if chosen is None or chosen == thread_id:
            await self._show_title()
        else:
            await self._switch(None if chosen == NEW_THREAD else chosen)

    async def action_new_thread(self) -> None:
        await self._switch(None)

    async def _switch(self, thread_id: str | None) -> None:
        if self.driver.busy or self.driver.phase is Phase.OPENING:
            self.notify("Stop the running turn first (Escape).", title="Still working", severity="warning")
        elif self.driver.phase is not Phase.BROKEN:
            await self.open_thread(thread_id)

    @work(exclusive=True, group="rename")
    async def action_rename(self) -> None:
        if (thread_id := self.driver.thread_id) is None:
            return
        title = await self.app.push_screen_wait(TextDialog("Rename thread", self._title.thread))
        if title is not None:
            try:
                await self.session.rename(thread_id, title)
            except HearthError as error:
                self.notify(error.message, title=error.title, severity="error", markup=False)
            await self._show_title()

    # -- what the person does

    @on(Prompt.Sent)
    def _sent(self, event: Prompt.Sent) -> None:
        if self.driver.submit(event.text):
            self._prompt.accept(event.text)
        elif self.driver.phase in {Phase.WAITING, Phase.INTERRUPTED}:
            self.notify("The last run waits for your decision first.", severity="warning")
            self.run_worker(self.action_decide())
        elif self.driver.phase is Phase.BROKEN:
            self._prompt.accept(event.text)
            self.driver.queue.append(event.text)
            self.hearth.open_session()

    @on(Conversation.Following)
    def _following(self, event: Conversation.Following) -> None:
        self._below.display = not event.following

    @on(Decision.Made)
    async def _decided(self, event: Decision.Made) -> None:
        await self._hide_decision()
        match event.answer:
            case "approve" | "deny":
                self.driver.decide(approve=event.answer == "approve", reason=event.reason)
            case "resume":
                self.driver.resume()
            case "later":
                self.notify("F3 shows it again.", title="Still waiting")

    async def action_decide(self) -> None:
        """Show the open decision again."""
        if self.query(Decision):
            self.query_one(Decision).focus()
        elif self.driver.phase is Phase.WAITING and self.driver.question is not None:
            await self.ask(self.driver.question)
        elif self.driver.phase is Phase.INTERRUPTED:
            await self._show_decision(ResumePanel(elsewhere=self.driver.activity != Phase.INTERRUPTED))

    def action_stop(self) -> None:
        if not self.driver.stop():
            self._prompt.focus()

    def action_copy_reply(self) -> None:
        """Copy the focused tool card, else the last reply."""
        focused = self.focused
        text = focused.plain if isinstance(focused, ToolCard) else self._conversation.last_reply()
        if text:
            self.app.copy_to_clipboard(text)
            what = f"{focused.tool} call" if isinstance(focused, ToolCard) else "Last reply"
            self.notify(f"{what} copied.", timeout=2, markup=False)

    def action_copy_code(self) -> None:
        """Copy the last code block: of a reply, or of a tool call."""
        if source := self._conversation.last_source():
            self.app.copy_to_clipboard(source)
            self.notify("Code copied.", timeout=2)

    def action_fold(self) -> None:
        self._folded = not self._folded
        self._conversation.fold(self._folded)

    def action_scroll_conversation(self, pages: int) -> None:
        self._conversation.page(pages)

    def action_conversation_top(self) -> None:
        self._conversation.scroll_home(animate=False)

    def action_conversation_bottom(self) -> None:
        self._conversation.follow()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self.driver.busy
        if action == "decide":
            return self.driver.phase in {Phase.WAITING, Phase.INTERRUPTED} and not self.query(Decision)
        return True

    # -- parts

    @property
    def hearth(self) -> HearthApp:
        return cast("HearthApp", self.app)

    def _welcome(self) -> Welcome:
        session = self.session
        return Welcome(model=session.reference, workspace=short_path(session.workspace), approve=session.approve)

    async def _show_title(self) -> None:
        thread_id = self.driver.thread_id
        self._title.thread = clean_line(await self.session.title(thread_id)) if thread_id else ""

    async def _show_decision(self, panel: Decision) -> None:
        await self._hide_decision()
        self._prompt.display = False
        await self.query_one("#bottom").mount(panel, before=self._queued)
        self._conversation.follow()
        self.refresh_bindings()

    async def _hide_decision(self) -> None:
        await self.query(Decision).remove()
        self._prompt.display = True
        self._prompt.focus()

    def _tick(self) -> None:
        if self.driver.busy:
            self._conversation.tick(self.hearth.clock.monotonic())
