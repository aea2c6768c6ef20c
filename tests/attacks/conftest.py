"""What every attack gets: an arena that all users can reach, removed afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.arena import Arena


@pytest.fixture
def arena() -> Iterator[Arena]:
    # Not tmp_path: pytest closes its parents to other users, and then more than the sandbox would refuse.
    with tempfile.TemporaryDirectory(prefix="openhearth-arena-") as folder:
        yield Arena(Path(folder))
