"""Exact figures for the status bar, computed from events alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from openhearth.events import (
    CallDelta,
    Event,
    ModelFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    TextDelta,
)
from openhearth.types import ModelInfo

_WINDOW = timedelta(seconds=2)


@dataclass(slots=True)
class Meters:
    """What the last events say. `speed` is tokens a second: over the last two seconds, then the reply's own figure.

    `context_used` is exact after every reply and unchanged in between; both context figures are in tokens.
    """

    model: ModelInfo | None = None
    speed: float = 0.0
    live: bool = False
    context_used: int = 0
    context_length: int = 0
    _marks: deque[tuple[datetime, int]] = field(default_factory=deque)

    def apply(self, event: Event) -> None:
        match event:
            case RunStarted(model=model) | RunResumed(model=model):
                self.know(model)
            case StepStarted():
                self._marks.clear()
            case TextDelta(tokens=tokens, time=time) | CallDelta(tokens=tokens, time=time):
                self._mark(time, tokens)
            case ModelFinished():
                final = event.timings.tokens_per_second(event.usage.completion_tokens)
                self.speed = final or self.speed
                self.context_used, self.context_length = event.context_used, event.context_length
                self._rest()
            case RunFinished():
                self._rest()
            case _:
                pass

    def recall(self, events: Iterable[Event]) -> None:
        """Take over what a past run says of its thread; which model answers now is another matter."""
        for event in events:
            if isinstance(event, ModelFinished):
                self.apply(event)

    def know(self, model: ModelInfo) -> None:
        """Take over what is known of the model before it has said anything."""
        self.model = model
        self.context_length = self.context_length or model.context_length

    def forget_thread(self) -> None:
        """Another thread is shown: its context is another one."""
        self.context_used, self.speed = 0, 0.0
        self._rest()

    @property
    def context_share(self) -> float:
        return self.context_used / self.context_length if self.context_length else 0.0

    def _mark(self, time: datetime, tokens: int) -> None:
        self._marks.append((time, tokens))
        while len(self._marks) > 2 and time - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        seconds = (end - start).total_seconds()
        if seconds > 0 and last > first:
            self.speed, self.live = (last - first) / seconds, True

    def _rest(self) -> None:
        self._marks.clear()
        self.live = False
