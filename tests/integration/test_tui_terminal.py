"""The chat in a real terminal: it starts, answers, leaves, and gives the terminal back, even when it breaks."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openhearth.tui.app import log_file

pytestmark = pytest.mark.slow

START = """
import sys
from pathlib import Path
from openhearth.config import load_settings
from openhearth.tui import app

{before}
sys.exit(app.run_app(load_settings(), model="scripted:model.yaml", workspace=Path("."), tools=["list_files"]))
"""
BREAK = """
class Broken(app.HearthApp):
    def on_mount(self):
        self.set_timer(0.2, lambda: 1 / 0)

app.HearthApp = Broken
"""
PATIENCE_S = 120


class Terminal:
    """A program in a pseudo-terminal; `text` is what it wrote so far, without escapes."""

    def __init__(self, program: subprocess.Popen[bytes], end: int) -> None:
        self._program, self._end = program, end
        self.raw = ""

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", self.raw)

    def until(self, wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text[-2000:]!r}"
            if select.select([self._end], [], [], 0.1)[0]:
                try:
                    self.raw += os.read(self._end, 65_536).decode("utf-8", "replace")
                except OSError:
                    # Linux says EIO when the program has closed its side.
                    break
        assert wanted in self.text

    def write(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def wait(self) -> int:
        return self._program.wait(PATIENCE_S)


@contextmanager
def terminal(folder: Path, program: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LINES": "30",
        "TEXTUAL_ANIMATIONS": "none",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.yaml").write_text("- {text: Good day to you., repeat: true}", encoding="utf-8")
    return tmp_path


def test_it_answers_and_gives_the_terminal_back(folder: Path) -> None:
    with terminal(folder, START.format(before="")) as screen:
        screen.until("describe a task")
        screen.write("hello\r")
        screen.until("Good day to you.")
        screen.until("done")
        screen.write("\x11")
        screen.until("hearth chat --thread thr_")
        assert screen.wait() == 0
        assert "\x1b[?1049l" in screen.raw
        assert "Traceback" not in screen.text


def test_it_can_be_left_while_it_opens(folder: Path) -> None:
    with terminal(folder, START.format(before="")) as screen:
        screen.until("describe a task")
        screen.write("\x03\x03")
        assert screen.wait() == 0


def test_a_fault_of_the_interface_is_a_sentence_and_a_log(folder: Path) -> None:
    with terminal(folder, START.format(before=BREAK)) as screen:
        screen.until("OpenHearth's interface broke")
        assert screen.wait() == 1
        assert "Traceback" not in screen.text
        assert "\x1b[?1049l" in screen.raw
    assert "ZeroDivisionError" in log_file().read_text(encoding="utf-8")
