"""The line of meters: what is going on, on which device, how fast, and how full the context is."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from openhearth.tui.layout import fit
from openhearth.tui.meters import Meters
from openhearth.tui.text import bar, clean_line, short_reference, speed

_BAR_CELLS = 10
_SEPARATOR = Content("  ·  ").stylize("$text-disabled")
_TIGHT, _ROOMY = 100, 120


class StatusBar(Static):
    """`tone` is a theme variable for the state's colour; the state itself is a word."""

    def __init__(self) -> None:
        super().__init__()
        self._state, self._tone, self._share = "", "text-muted", None
        self._meters = Meters()

    _share: float | None

    def show(self, state: str, tone: str, meters: Meters, share: float | None = None) -> None:
        """`share` is how much of a download or a conversion is done, where that is known."""
        self._state, self._tone, self._share, self._meters = state, tone, share, meters
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        state = Content.assemble(("● ", f"${self._tone}"), (clean_line(self._state), f"${self._tone}"))
        if self._share is not None:
            full, empty = bar(self._share, _BAR_CELLS * 2)
            percent = f"  {self._share:.0%}"
            state = Content.assemble(state, "  ", (full, "$primary"), (empty, "$text-disabled"), percent)
        meters = (
            self._context_part(width >= _TIGHT),
            self._speed_part(),
            self._device_part(),
            self._model_part(width >= _ROOMY),
        )
        room = max(0, width - state.cell_length - 3)
        shown = fit([part for part in meters if part.cell_length], room, _SEPARATOR)
        return Content.assemble(state, " " * max(1, width - state.cell_length - shown.cell_length), shown)

    def _model_part(self, roomy: bool) -> Content:
        return Content(short_reference(self._meters.model.reference)) if roomy and self._meters.model else Content()

    def _device_part(self) -> Content:
        model = self._meters.model
        return Content(" ".join(filter(None, (model.device or model.backend, model.precision)))) if model else Content()

    def _speed_part(self) -> Content:
        if not self._meters.speed:
            return Content()
        return Content(speed(self._meters.speed)).stylize("bold" if self._meters.live else "")

    def _context_part(self, roomy: bool) -> Content:
        meters = self._meters
        if not meters.context_length:
            return Content()
        full, empty = bar(meters.context_share, _BAR_CELLS if roomy else _BAR_CELLS // 2)
        tone = "$error" if meters.context_share > 0.9 else "$warning" if meters.context_share > 0.7 else "$primary"
        figures = f" {meters.context_used:,} / {meters.context_length:,}"
        return Content.assemble("context ", (full, tone), (empty, "$text-disabled"), figures)
