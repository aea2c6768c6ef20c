"""A tool call as a card: its source or arguments, its state while it runs, and the head of its result."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from openhearth.tui import code
from openhearth.tui.layout import spread
from openhearth.tui.text import clean, clean_line, duration, head, plural
from openhearth.types import ToolCall, ToolOutput

CallState = Literal["writing", "ready", "waiting", "in_doubt", "running", "ok", "failed", "denied", "stopped"]

_WORDS: dict[CallState, str] = {"ready": "next", "waiting": "waiting for you", "in_doubt": "in doubt"}
_OPEN: frozenset[CallState] = frozenset({"writing", "ready", "waiting", "in_doubt", "running"})
_SOURCE_LINES, _RESULT_LINES, _DIFF_LINES = 14, 8, 16
_ALL_LINES = 400
_DRAW_EVERY_S = 0.08


class CardTitle(Static):
    """Name and summary at the left, state and duration at the right."""

    left: Content = Content()
    right: Content = Content()

    def show(self, left: Content, right: Content) -> None:
        self.left, self.right = left, right
        self.refresh()

    def render(self) -> Content:
        return spread(self.left, self.right, self.size.width)


class ToolCard(Vertical, can_focus=True):
    """Enter folds and unfolds it; `m` shows all of it instead of the head."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "fold", "Fold"),
        Binding("m", "more", "More"),
    ]

    def __init__(self, name: str, *, folded: bool = False) -> None:
        super().__init__()
        self.tool = clean_line(name, 64)
        self.call: ToolCall | None = None
        self.state: CallState = "writing"
        self.output: ToolOutput | None = None
        self.note = ""
        self._draft = ""
        self._duration_s: float | None = None
        self._started_at: float | None = None
        self._folded = folded
        self._all = False
        self._drawing = False
        self._title, self._source = CardTitle(classes="title"), Static(classes="source")
        self._result = Static(classes="result")

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._source
        yield self._result

    def on_mount(self) -> None:
        self._draw()

    # -- what happens to the call, in order

    def write(self, fragment: str) -> None:
        """Another fragment of the call's source."""
        self._draft += clean(fragment)
        self._draw_soon()

    def written(self, call: ToolCall) -> None:
        """The call is complete, and waits for its turn."""
        self._know(call)
        self.state = "ready"
        self._draw()

    def wait(self, call: ToolCall, *, in_doubt: bool) -> None:
        """It waits for a person."""
        self._know(call)
        self.state = "in_doubt" if in_doubt else "waiting"
        self._draw()

    def decided(self, approved: bool, reason: str) -> None:
        if approved:
            self.state = "ready"
        else:
            self.state, self.note = "denied", reason
        self._draw()

    def start(self, call: ToolCall, at: float | None) -> None:
        """It runs, since `at` on the app's monotonic clock (None: that is long ago)."""
        self._know(call)
        if self.state != "denied":
            self.state, self._started_at = "running", at
        self._draw()

    def finish(self, call: ToolCall, output: ToolOutput, duration_s: float) -> None:
        self._know(call)
        if self.state != "denied":
            self.state = "ok" if output.ok else "failed"
        self.output, self._duration_s = output, duration_s
        self._draw()

    def stop(self) -> None:
        """The run ended; a call that was not finished never will be."""
        if self.state in _OPEN:
            self.state = "stopped"
            self._draw()

    # -- for others

    @property
    def source(self) -> str:
        """The code that it runs; empty for other tools."""
        return self._arguments.source

    @property
    def plain(self) -> str:
        """What copying the card copies: the source or the arguments, and the result."""
        shown = self._arguments
        source = shown.source or "\n".join(f"{name}: {value}" for name, value in shown.others) or self._draft
        return f"{source}\n\n{clean(self.output.content)}".strip() if self.output else source

    def tick(self, now: float) -> None:
        """Show the seconds that pass while it runs."""
        if self.state == "running" and self._started_at is not None:
            self._duration_s = max(0.0, now - self._started_at)
            self._draw_title()

    def fold(self, folded: bool) -> None:
        self._folded = folded
        self._draw()

    def action_fold(self) -> None:
        self.fold(not self._folded)

    def action_more(self) -> None:
        self._all = not self._all or self._folded
        self.fold(False)

    def on_click(self, event: Click) -> None:
        if event.widget is self._title:
            self.action_fold()

    # -- drawing

    @property
    def _arguments(self) -> code.Arguments:
        return code.arguments(self.tool, self.call.arguments if self.call else {})

    def _know(self, call: ToolCall) -> None:
        self.call, self.tool, self._draft = call, clean_line(call.name, 64), ""

    def _draw_soon(self) -> None:
        if not self._drawing and self.is_attached:
            self._drawing = True
            self.set_timer(_DRAW_EVERY_S, self._draw)

    def _draw(self) -> None:
        self._drawing = False
        self.set_classes(f"-{self.state}{' -folded' if self._folded else ''}")
        if not self.is_attached:
            return
        self._draw_title()
        source, result = (Content(), Content()) if self._folded else (self._source_content(), self._result_content())
        for widget, content in ((self._source, source), (self._result, result)):
            widget.update(content)
            widget.display = bool(content.plain)

    def _draw_title(self) -> None:
        word = _WORDS.get(self.state, self.state)
        taken = f"  {duration(self._duration_s)}" if self._duration_s is not None else ""
        left = Content.assemble((self.tool, "bold"))
        if self._folded:
            left = Content.assemble(left, "  ", (clean_line(self._arguments.summary), "$text-muted"))
        mark = "+ " if self._folded else ""
        self._title.show(
            Content.assemble((mark, "$text-muted"), left),
            Content.assemble((word, "bold"), (taken, "not bold $text-muted")),
        )

    def _source_content(self) -> Content:
        if self.call is None:
            return code.draft(self.tool, self._draft, _SOURCE_LINES) if self._draft else Content()
        shown = self._arguments
        parts: list[Content] = []
        shows_diff = self.output is not None and any(change.diff for change in self.output.changes)
        for name, value in shown.others:
            if shows_diff and "\n" in value:
                continue
            block = value if "\n" not in value else "\n" + self._cut(value, _SOURCE_LINES)
            parts.append(Content.assemble((f"{name}  ", "$text-muted"), block))
        if shown.source:
            text, left_out = head(shown.source, self._limit(_SOURCE_LINES))
            parts.append(Content.assemble(code.source(text, shown.language), _more(left_out)))
        return Content("\n").join(parts)

    def _result_content(self) -> Content:
        parts: list[Content] = []
        if self.note:
            parts.append(Content.assemble(("reason  ", "$text-muted"), clean(self.note)))
        if self.output is None:
            return Content("\n").join(parts)
        if text := clean(self.output.content).strip("\n"):
            parts.append(Content(self._cut(text, _RESULT_LINES)))
        if self.output.truncated:
            parts.append(Content("The result was longer; this is what the model saw.").stylize("$text-muted"))
        for change in self.output.changes:
            title = Content.assemble((f"{change.kind}  ", "$text-muted"), (clean_line(change.path), "bold"))
            shown, left_out = head(code.diff_body(change.diff), self._limit(_DIFF_LINES))
            parts.append(Content.assemble(title, "\n", code.diff(shown), _more(left_out)) if shown else title)
        return Content("\n").join(parts)

    def _limit(self, lines: int) -> int:
        return _ALL_LINES if self._all else lines

    def _cut(self, text: str, lines: int) -> str:
        shown, left_out = head(text, self._limit(lines))
        return shown + _more(left_out).plain


def _more(lines: int) -> Content:
    return Content(f"\n… {plural(lines, 'more line')}").stylize("$text-muted") if lines else Content()
