"""Where the person writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from openhearth.tui.text import clean

_HISTORY = 200
_NEWLINE_KEYS = frozenset({"shift+enter", "ctrl+j", "alt+enter"})


class Prompt(TextArea):
    """Enter sends, Shift+Enter or Ctrl+J begins a new line; up and down at the edges walk through what was sent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # Shown here, acted upon in `_on_key`.
        Binding("enter", "send", "Send"),
        Binding("ctrl+j", "newline", "New line"),
        # These belong to the conversation; the text written here rarely fills a page.
        Binding("pageup", "screen.scroll_conversation(-1)", "Page up", show=False),
        Binding("pagedown", "screen.scroll_conversation(1)", "Page down", show=False),
        Binding("ctrl+home", "screen.conversation_top", "Top", show=False),
        Binding("ctrl+end", "screen.conversation_bottom", "Bottom", show=False),
        Binding("ctrl+y", "screen.copy_reply", "Copy", show=False),
        Binding("ctrl+shift+z", "redo", "Redo", show=False),
    ]

    class Sent(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(placeholder="Ask, or describe a task", highlight_cursor_line=False)
        self._sent: list[str] = []
        self._place = 0
        self._draft = ""

    def on_mount(self) -> None:
        self.cursor_blink = self.app.animation_level != "none"

    def remember(self, texts: Iterable[str]) -> None:
        """Replace the history, oldest first."""
        self._sent = list(texts)[-_HISTORY:]
        self._place, self._draft = len(self._sent), ""

    def put(self, text: str) -> None:
        """Put `text` before what is there, and the cursor at the end."""
        self.text = text if not self.text.strip() else f"{text}\n{self.text}"
        self.move_cursor(self.document.end)

    def action_send(self) -> None:
        if text := self.text.strip():
            self.post_message(self.Sent(text))

    def accept(self, text: str) -> None:
        """What was sent has been taken: clear, and keep it in the history."""
        self.remember([*(sent for sent in self._sent if sent != text), text])
        self.clear()

    def action_newline(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        else:
            self._walk(-1)

    def action_cursor_down(self, select: bool = False) -> None:
        if select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        else:
            self._walk(1)

    def _walk(self, step: int) -> None:
        place = self._place + step
        if not 0 <= place <= len(self._sent):
            return
        if self._place == len(self._sent):
            self._draft = self.text
        self._place = place
        self.text = self._sent[place] if place < len(self._sent) else self._draft
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        # Not left to bindings: those run ahead of text that is typed or sent fast, and would miss the end of it.
        if event.key == "enter" or event.key in _NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self.action_send() if event.key == "enter" else self.action_newline()

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        if result := self._replace_via_keyboard(clean(event.text), *self.selection):
            self.move_cursor(result.end_location)
