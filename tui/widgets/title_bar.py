"""The line at the top: whose program this is, which thread, which model."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from openhearth.tui.layout import spread


class TitleBar(Static):
    """Brand and thread at the left, model at the right."""

    thread: reactive[str] = reactive("")
    model: reactive[str] = reactive("")

    def render(self) -> Content:
        brand = Content.assemble(("▲ ", "bold $primary"), ("OpenHearth", "bold $primary"))
        left = Content.assemble(brand, ("  ", ""), Content(self.thread or "New thread"))
        return spread(left, Content(self.model).stylize("$text-muted"), self.content_size.width)
