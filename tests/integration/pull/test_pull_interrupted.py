"""Pulls that are killed, crowded, cancelled or run out of disk; each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth import paths
from openhearth.errors import CancelledError
from openhearth.models.pull import find_store, pull

Make = Callable[..., Any]
FILE = "/org/tiny/resolve/main/weights.bin"
HUB = {"kind": "hub", "repo": "org/tiny"}

PROGRAM = """
import resource, sys
from openhearth.config import load_settings
from openhearth.errors import HearthError
from openhearth.models.pull import pull

limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    print(pull("tiny", load_settings({"model": {"hub_endpoint": sys.argv[1]}})))
except HearthError as error:
    sys.exit(f"{error.code}: {error}")
"""


@pytest.fixture
def start(web: Any) -> Make:
    """Starts a pull in another process."""

    def begin(limit: int = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, web.url, str(limit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )

    return begin


@pytest.fixture(autouse=True)
def tiny(catalogue: Make, content: bytes) -> str:
    return str(catalogue({"weights.bin": content}, HUB))


def part() -> Path:
    return paths.cache_dir() / "downloads" / "tiny" / "weights.bin.part"


def wait_for_bytes(process: subprocess.Popen[str]) -> int:
    """Block until some of the file has arrived."""
    while process.poll() is None:
        if part().exists() and (size := part().stat().st_size):
            return size
        time.sleep(0.01)
    raise AssertionError(process.communicate())


def test_a_killed_pull_goes_on_where_it_was(
    web: Any, page: Make, start: Make, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content, delay_s=0.2)
    process = start()
    wait_for_bytes(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = part().stat().st_size
    assert 0 < kept < len(content)
    web.pages[FILE].delay_s = 0
    assert (pull("tiny", settings_for(web.url)) / "weights.bin").read_bytes() == content
    assert web.ranges(FILE)[-1] == f"bytes={kept}-"


def test_two_pulls_at_once_fetch_once(web: Any, page: Make, start: Make, settings_for: Make, content: bytes) -> None:
    web.pages[FILE] = page(content, delay_s=0.1)
    first = start()
    wait_for_bytes(first)
    remarks: list[str] = []
    store = pull("tiny", settings_for(web.url), lambda what, done, total: remarks.append(what))
    assert remarks == ["Another process is pulling tiny; waiting for it."]
    out, err = first.communicate()
    assert (out.strip(), err) == (str(store), "")
    assert len(web.requests) == 1


def test_a_waiting_pull_can_be_cancelled(web: Any, page: Make, start: Make, settings_for: Make, content: bytes) -> None:
    web.pages[FILE] = page(content, delay_s=0.2)
    first = start()
    wait_for_bytes(first)
    cancel = threading.Event()
    with pytest.raises(CancelledError):
        pull("tiny", settings_for(web.url), lambda *_: cancel.set(), cancel=cancel)
    first.kill()
    first.communicate()


def test_cancelling_keeps_what_has_arrived(web: Any, page: Make, settings_for: Make, content: bytes) -> None:
    web.pages[FILE] = page(content)
    cancel = threading.Event()

    def stop(what: str, done: int, total: int) -> None:
        if done > 500_000:
            cancel.set()

    with pytest.raises(CancelledError) as raised:
        pull("tiny", settings_for(web.url), stop, cancel=cancel)
    assert "kept" in raised.value.hint
    assert 500_000 < part().stat().st_size < len(content)


def test_a_full_disk_keeps_the_part_and_breaks_nothing(
    web: Any, page: Make, start: Make, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content)
    limit = 1_000_000
    out, err = start(limit).communicate()
    assert out == ""
    assert err.startswith("disk_full: No room left in")
    assert "need not be fetched again" in err
    assert part().stat().st_size == limit
    assert find_store("tiny", settings_for(web.url)) is None
    assert (pull("tiny", settings_for(web.url)) / "weights.bin").read_bytes() == content
    assert web.ranges(FILE) == ["", f"bytes={limit}-"]
