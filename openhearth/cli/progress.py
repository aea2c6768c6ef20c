"""Progress on stderr: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import re
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from openhearth.cli.console import narration, say
from openhearth.tui.text import duration

_BYTES = 100_000
_EVERY_S = 10.0
_COUNTER = re.compile(r" \(part \d+ of \d+\)$")


class ProgressDisplay:
    """A ProgressCallback: call it with what is going on, units done, and units in all (0: just tell).

    Any thread may call it. Nothing is drawn before the first call.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, tuple[float, int]] = {}
        self._last_remark = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._quiet:
            return
        stage = _COUNTER.sub("", what)
        if total <= 0:
            self._remark(what)
        elif narration().is_terminal:
            self._draw(stage, done, total)
        else:
            self._tell(stage, done, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the finished bars on the screen and give the cursor back."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()

    def _remark(self, what: str) -> None:
        if what != self._last_remark:
            self._last_remark = what
            say(what, "dim")

    def _draw(self, stage: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None, table_column=Column(ratio=1)),  # takes what the words leave
                _Amount(table_column=Column(no_wrap=True)),
                console=narration(),
                expand=True,
                refresh_per_second=5,
            )
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def _tell(self, stage: str, done: int, total: int) -> None:
        """A line at the start, one every few seconds, and one at the end."""
        now = time.monotonic()
        when, share = self._told.get(stage, (-_EVERY_S, -1))
        percent = done * 100 // total
        if percent != share and (now - when >= _EVERY_S or percent == 100):
            self._told[stage] = (now, percent)
            say(f"{stage}: {percent} %" + (f" of {_size(total)}" if total >= _BYTES else ""))


class _Amount(ProgressColumn):
    """What has been done: bytes, their speed and the time left, or steps."""

    def render(self, task: Task) -> Text:
        total = int(task.total or 0)
        if total < _BYTES:
            return Text(f"{int(task.completed)}/{total}", style="dim")
        if task.finished:
            return Text(_size(total), style="dim")
        text = f"{_size(int(task.completed))} of {_size(total)}"
        if task.speed:
            text += f" {_size(int(task.speed))}/s"
        if task.time_remaining:
            text += f" {duration(task.time_remaining)}"
        return Text(text, style="dim")


def _size(amount: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}" if unit == "GB" else f"{amount / factor:.0f} {unit}"
    return f"{amount / 1e3:.0f} kB"
