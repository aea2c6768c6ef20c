"""What every step of a pull is handed: settings, somewhere to report to, and a way to be stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from openhearth.config import Settings
from openhearth.errors import CancelledError
from openhearth.models.base import ProgressCallback


@dataclass(frozen=True, slots=True)
class Job:
    """One pull under way. `title` names the model in words for the user."""

    title: str
    settings: Settings
    progress: ProgressCallback
    cancel: threading.Event

    def check(self) -> None:
        """Raise CancelledError once somebody asked to stop."""
        if self.cancel.is_set():
            raise CancelledError(
                f"The pull of {self.title} was cancelled.",
                hint="What has arrived is kept; the next pull goes on from there.",
            )

    def wait(self, seconds: float) -> None:
        """Sleep, unless cancelled meanwhile."""
        self.cancel.wait(seconds)
        self.check()

    def say(self, remark: str) -> None:
        """One line worth telling: progress of nothing out of nothing."""
        self.progress(remark, 0, 0)
