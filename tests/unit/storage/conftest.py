"""A fresh database, and one thread with one run in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openhearth.storage import runs, threads
from openhearth.storage.store import Store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/home/hearth.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def thread_id(store: Store) -> str:
    with store.write() as session:
        return threads.create(session, title="Orders").id


@pytest.fixture
def run_id(store: Store, thread_id: str) -> str:
    with store.write() as session:
        return runs.create(session, thread_id, "count the orders", {"name": "agent"}).id
