"""Markdown as the model writes it."""

from __future__ import annotations

from markdown_it import MarkdownIt
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownFence, MarkdownStream

from openhearth.tui.code import source
from openhearth.tui.text import clean

_DRAW_EVERY_S = 0.05


class HearthFence(MarkdownFence):
    """A code block in the colours of the theme."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        return source(code, language.split()[0] if language.strip() else "text")


class HearthMarkdown(Markdown):
    """Shows text that others wrote. Only plain web addresses open in the browser, and only on request."""

    BLOCKS = {  # noqa: RUF012 -- declared by the base class
        **Markdown.BLOCKS,
        "fence": HearthFence,
        "code_block": HearthFence,
    }

    def __init__(self, text: str = "", *, classes: str | None = None) -> None:
        super().__init__(clean(text), classes=classes, open_links=False)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        if event.href.startswith(("http://", "https://")):
            self.app.open_url(event.href)
        else:
            self.app.notify(clean(event.href), title="Not a web address", markup=False)


class Reply(HearthMarkdown):
    """One reply, whole or still being written: `feed` it, then `settle` it."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self._stream: MarkdownStream | None = None
        self._timer: Timer | None = None
        self._pending = ""

    async def feed(self, text: str) -> None:
        """Append. What comes within a twentieth of a second is drawn at once: each drawing lays the screen out anew."""
        self._pending += clean(text)
        if self._timer is None:
            await self._flush()
            self._timer = self.set_timer(_DRAW_EVERY_S, self._flush)

    async def _flush(self) -> None:
        self._timer = None
        text, self._pending = self._pending, ""
        if text:
            self._stream = self._stream or Markdown.get_stream(self)
            await self._stream.write(text)

    async def settle(self, text: str | None = None) -> None:
        """Show all that was fed, or `text` where the finished reply differs from it."""
        if self._timer is not None:
            self._timer.stop()
            await self._flush()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            # stop() flushes what is pending, but cuts an update under way short: let that one end first, and then
            # the one that may have begun since.
            async with self.lock:
                pass
            await stream.stop()
            async with self.lock:
                pass
        if text is not None and clean(text) != self.source:
            await self.update(clean(text))

    @property
    def plain(self) -> str:
        """The Markdown source."""
        return self.source or (self._initial_markdown or "")

    def code_blocks(self) -> list[str]:
        """The code blocks in it, in order."""
        return [token.content.rstrip("\n") for token in MarkdownIt().parse(self.plain) if token.type == "fence"]
