"""Opens the database for the commands that only look at it, or tidy it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from openhearth.cli.options import settings_with
from openhearth.storage.store import Store
from openhearth.tui.text import ago


@contextmanager
def opened() -> Iterator[Store]:
    """The database that the settings name."""
    settings = settings_with()
    with Store.open(settings.database_url, keep_backups=settings.storage.keep_backups) as store:
        yield store


def when(moment: datetime) -> str:
    """How long ago, for a person."""
    return ago(moment, datetime.now(UTC))
