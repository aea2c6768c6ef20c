"""The time that the interface shows, in one place, so that screens can be drawn at a chosen instant."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """The machine's clock, or one that stands still at `fixed`."""

    fixed: datetime | None = None

    def now(self) -> datetime:
        return self.fixed or datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds for measuring spans."""
        return self.fixed.timestamp() if self.fixed else time.monotonic()
