"""What was sent while the model works, and waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from openhearth.tui.text import clean_line, plural

_SHOWN = 3


class QueuedMessages(Static):
    """One line for each, and how many more there are."""

    _shown: tuple[str, ...] = ()

    def show(self, texts: Sequence[str]) -> None:
        if tuple(texts) == self._shown:
            return
        self._shown = tuple(texts)
        self.display = bool(texts)
        lines = [Content.assemble(("queued  ", "$primary"), clean_line(text)) for text in texts[:_SHOWN]]
        if len(texts) > _SHOWN:
            lines.append(Content(f"        and {plural(len(texts) - _SHOWN, 'more message')}"))
        self.update(Content("\n").join(lines))
