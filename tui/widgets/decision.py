"""Asks the person about a run: whether a call may run, or whether an interrupted run goes on.

Keys pressed in the first half second are ignored, so that nobody approves what appeared under the fingers.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Static

from openhearth.events import ApprovalRequested
from openhearth.tui import code
from openhearth.tui.text import clean, clean_line

Answer = Literal["approve", "deny", "later", "resume"]

HOLD_S = 0.5

_IN_DOUBT = (
    "This call had started when the run was cut off, and whether it finished is unknown: it may have had its effects "
    "already. Approve runs it again. Deny leaves it as it is, and the model is told that the outcome is unknown."
)
_INTERRUPTED = (
    "This run was cut off before it ended. Everything up to its last step is kept, and it can go on from there."
)


class Decision(Vertical, can_focus=True):
    """Base: a title, an explanation, a preview, and buttons that do nothing for the first half second."""

    class Made(Message):
        """What the person chose."""

        def __init__(self, answer: Answer, reason: str = "") -> None:
            super().__init__()
            self.answer: Answer = answer
            self.reason = reason

    def __init__(self, title: Content, explanation: str) -> None:
        super().__init__()
        self.armed = False
        self._title, self._explanation = title, explanation

    def on_mount(self) -> None:
        self.set_timer(HOLD_S, self._arm)
        self.focus()

    def _arm(self) -> None:
        self.armed = True
        self.add_class("-armed")

    def _answer(self, answer: Answer, reason: str = "") -> None:
        if self.armed:
            self.post_message(self.Made(answer, reason))

    def compose(self) -> ComposeResult:
        yield Static(self._title, classes="title")
        if self._explanation:
            yield Static(Content(self._explanation), classes="explanation")


class ApprovalPanel(Decision):
    """Shows what approving means, and asks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,y", "approve", "Approve"),
        Binding("d,n", "deny", "Deny"),
        Binding("escape", "later", "Back"),
        Binding("up,k", "scroll_preview(-1)", "Up", show=False),
        Binding("down,j", "scroll_preview(1)", "Down", show=False),
        Binding("pageup", "scroll_preview(-8)", "Page up", show=False),
        Binding("pagedown", "scroll_preview(8)", "Page down", show=False),
    ]

    def __init__(self, question: ApprovalRequested) -> None:
        verb = "Did this happen?  " if question.in_doubt else "May this run?  "
        title = Content.assemble((verb, "bold $warning"), (clean_line(question.call.name, 64), "bold"))
        super().__init__(title, _IN_DOUBT if question.in_doubt else "")
        self.question = question

    def compose(self) -> ComposeResult:
        yield from super().compose()
        with VerticalScroll(classes="preview", can_focus=False):
            yield Static(_preview(self.question))
        yield Input(placeholder="Why not? The model reads this. Enter denies, Escape goes back", classes="reason")
        with Horizontal(classes="buttons"):
            yield Button("Approve  a", id="approve", variant="success", compact=True)
            yield Button("Deny  d", id="deny", variant="error", compact=True)
            yield Button("Later  esc", id="later", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = self.app.animation_level != "none"

    def action_approve(self) -> None:
        self._answer("approve")

    def action_deny(self) -> None:
        if self.armed:
            self.add_class("-denying")
            self.query_one(Input).focus()

    def action_later(self) -> None:
        if self.has_class("-denying"):
            self.remove_class("-denying")
            self.focus()
        else:
            self._answer("later")

    def action_scroll_preview(self, lines: int) -> None:
        self.query_one(".preview", VerticalScroll).scroll_relative(y=lines, animate=False)

    @on(Input.Submitted)
    def _reason_given(self, event: Input.Submitted) -> None:
        event.stop()
        self._answer("deny", clean_line(event.value, 500))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        {"approve": self.action_approve, "deny": self.action_deny, "later": self.action_later}[event.button.id or ""]()


class ResumePanel(Decision):
    """Offers to go on with an interrupted run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,enter", "resume", "Resume"),
        Binding("escape", "later", "Later"),
    ]

    def __init__(self, *, elsewhere: bool) -> None:
        title = "Another process is executing this run" if elsewhere else "Interrupted"
        note = "It goes on there. Resume takes it over once that process is gone." if elsewhere else _INTERRUPTED
        super().__init__(Content(title).stylize("bold $warning"), note)

    def compose(self) -> ComposeResult:
        yield from super().compose()
        with Horizontal(classes="buttons"):
            yield Button("Resume  r", id="resume", variant="success", compact=True)
            yield Button("Later  esc", id="later", compact=True)

    def action_resume(self) -> None:
        self._answer("resume")

    def action_later(self) -> None:
        self._answer("later")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        {"resume": self.action_resume, "later": self.action_later}[event.button.id or ""]()


def _preview(question: ApprovalRequested) -> Content:
    """The diff or the source, and the arguments that neither shows."""
    shown = code.arguments(question.call.name, question.call.arguments)
    text = clean(question.preview).strip("\n")
    if code.is_diff(text):
        return code.diff(text)
    if text or shown.source:
        return code.source(text or shown.source, shown.language)
    lines = [Content.assemble((f"{name}  ", "$text-muted"), value) for name, value in shown.others]
    return Content("\n").join(lines or [Content("No arguments.")])
