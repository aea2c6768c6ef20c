"""The conversation: a bounded number of turns, following the bottom unless the reader has scrolled away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from openhearth.tui.text import plural
from openhearth.tui.widgets.turn import TurnView

MAX_TURNS = 20
"""Turns in the DOM after a new one has begun; older ones can be loaded back."""
PAGE = 10
"""Turns that are loaded back at a time."""


class EarlierTurns(Static, can_focus=True):
    """Stands at the top for the turns that are not shown."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "load", "Load earlier")]

    class Wanted(Message):
        """The reader wants the turns before the first one."""

    def show(self, count: int) -> None:
        self.display = count > 0
        self.update(Content(f"{plural(count, 'earlier turn')}  ·  Enter loads more"))

    def action_load(self) -> None:
        self.post_message(self.Wanted())

    def on_click(self) -> None:
        self.action_load()


class Conversation(VerticalScroll, can_focus=False):
    """`hidden` names the runs, oldest first, whose turns are not in the DOM."""

    class Following(Message):
        """Whether new text moves into view by itself has changed."""

        def __init__(self, following: bool) -> None:
            super().__init__()
            self.following = following

    def __init__(self) -> None:
        super().__init__()
        self.hidden: list[str] = []
        self._earlier = EarlierTurns()
        self._was_following = True

    def compose(self) -> ComposeResult:
        yield self._earlier

    def on_mount(self) -> None:
        self._earlier.show(0)
        self.anchor()

    @property
    def turns(self) -> list[TurnView]:
        return [child for child in self.children if isinstance(child, TurnView)]

    @property
    def last_turn(self) -> TurnView | None:
        return next(reversed(self.turns), None)

    def last_reply(self) -> str:
        """The Markdown of the last thing that the model said."""
        return next((text for turn in reversed(self.turns) for text in reversed(turn.replies())), "")

    def last_source(self) -> str:
        """The last code that was written, in a reply or by a tool call."""
        return next((text for turn in reversed(self.turns) for text in reversed(turn.sources())), "")

    def fold(self, folded: bool) -> None:
        """Fold or unfold every tool card."""
        for turn in self.turns:
            for card in turn.cards():
                card.fold(folded)

    def page(self, pages: int) -> None:
        """Scroll by screens, less two lines."""
        self.scroll_relative(y=pages * max(1, self.size.height - 2), animate=False)

    @property
    def following(self) -> bool:
        """Whether the bottom stays in view."""
        return self.is_anchored and (not self._anchor_released or self.is_vertical_scroll_end)

    async def show(self, turns: Sequence[TurnView], hidden: Sequence[str], first: Widget | None = None) -> None:
        """Replace everything: `turns` in the DOM, `hidden` before them; `first` stands alone where there are none."""
        self.hidden = list(hidden)
        with self.app.batch_update():
            await self.query("Conversation > *").exclude("EarlierTurns").remove()
            await self.mount_all([*turns, *([first] if first is not None and not turns else [])])
        self._earlier.show(len(self.hidden))
        self.follow()

    async def begin(self, turn: TurnView) -> None:
        """Add a turn at the bottom, let go of the oldest, and go there."""
        with self.app.batch_update():
            await self.query("Conversation > *").exclude("EarlierTurns").exclude("TurnView").remove()
            surplus = self.turns[: max(0, len(self.turns) + 1 - MAX_TURNS)]
            self.hidden += [old.run_id for old in surplus if old.run_id]
            for old in surplus:
                await old.remove()
            await self.mount(turn)
        self._earlier.show(len(self.hidden))
        self.follow()

    async def prepend(self, turns: Sequence[TurnView]) -> None:
        """Put `turns` back, the last of the hidden ones, without moving what the reader looks at."""
        before, at = self.virtual_size.height, self.scroll_y
        del self.hidden[len(self.hidden) - len(turns) :]
        await self.mount_all(turns, after=self._earlier)
        self._earlier.show(len(self.hidden))
        self.call_after_refresh(
            lambda: self.scroll_to(y=at + self.virtual_size.height - before, animate=False, force=True)
        )

    def follow(self) -> None:
        """Go to the bottom and stay there."""
        self.anchor()
        self.scroll_end(animate=False)

    def tick(self, now: float) -> None:
        """Let the last turn show the time that passes, and say so when the reader left the bottom."""
        if turn := self.last_turn:
            turn.tick(now)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._check_following()

    def watch_virtual_size(self) -> None:
        self._check_following()

    def _check_following(self) -> None:
        if self.following != self._was_following:
            self._was_following = self.following
            self.post_message(self.Following(self._was_following))
