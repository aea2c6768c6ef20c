"""The stage, set up and taken down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stage import Stage

from openhearth.agents.runtime import Runtime
from openhearth.config import load_settings


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
async def stage(workspace: Path) -> AsyncIterator[Stage]:
    async with await Runtime.open(load_settings()) as runtime:
        yield Stage(runtime, workspace)
