"""The kernels' library, for tests that call it directly."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from support.kernels import levels_of, open_library


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return open_library(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def library(loaded: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    """At its best level, before and after."""
    levels_of(loaded)
    yield loaded
    levels_of(loaded)
