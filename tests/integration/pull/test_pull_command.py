"""`hearth models pull` against a real server: progress, Ctrl-C, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth import paths

Make = Callable[..., Any]
FILE = "/org/tiny/resolve/main/weights.bin"
HEARTH = str(Path(sys.executable).with_name("hearth"))

pytestmark = pytest.mark.slow


@pytest.fixture
def pull_tiny(web: Any, catalogue: Make, content: bytes) -> Callable[[], subprocess.Popen[str]]:
    catalogue({"weights.bin": content}, {"kind": "hub", "repo": "org/tiny"})

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [HEARTH, "models", "pull", "tiny"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HEARTH_MODEL__HUB_ENDPOINT": web.url},
        )

    return start


def test_the_folder_is_on_stdout_and_progress_on_stderr(web: Any, page: Make, pull_tiny: Make, content: bytes) -> None:
    web.pages[FILE] = page(content)
    process = pull_tiny()
    out, err = process.communicate()
    assert process.returncode == 0
    assert (Path(out.strip()) / "weights.bin").read_bytes() == content
    assert err.splitlines()[-1] == "Downloading tiny: 100 % of 3 MB"


def test_ctrl_c_stops_it_and_keeps_what_has_arrived(web: Any, page: Make, pull_tiny: Make, content: bytes) -> None:
    web.pages[FILE] = page(content, delay_s=3)
    process = pull_tiny()
    part = paths.cache_dir() / "downloads" / "tiny" / "weights.bin.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("\nCancelled.\n")
    assert 0 < part.stat().st_size < len(content)


def test_a_failed_download_is_5_and_told_in_words(web: Any, page: Make, pull_tiny: Make) -> None:
    web.pages[FILE] = page(status=404)
    process = pull_tiny()
    out, err = process.communicate()
    assert (process.returncode, out) == (5, "")
    assert err == "Download failed: 127.0.0.1 answered 404 Not Found for /org/tiny/resolve/main/weights.bin.\n"
