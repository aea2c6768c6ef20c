"""The real `hearth` command in a process of its own: in a pipe, or at a terminal with somebody typing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openhearth.config import load_settings
from openhearth.storage import runs
from openhearth.storage.store import Store
from openhearth.storage.tables import RunRow
from openhearth.tools.sandbox.locate import find_bwrap

HEARTH = str(Path(sys.executable).with_name("hearth"))
_TERMINAL_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Shown:
    """What appeared on a terminal, without its control sequences, and how the command ended."""

    code: int
    text: str
    raw: str


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the commands."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def script(tmp_path: Path, workspace: Path) -> Callable[[str], str]:
    """Writes a script and gives its model reference."""

    def write(text: str, name: str = "script.yaml") -> str:
        (tmp_path / name).write_text(text)
        return f"scripted:{tmp_path / name}"

    return write


@pytest.fixture
def start(workspace: Path) -> Callable[..., Any]:
    """Starts `hearth` with pipes for its streams."""

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [HEARTH, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return begin


@pytest.fixture
def hearth(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `hearth` to its end."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **environment)
        out, err = process.communicate(stdin, timeout=_PATIENCE_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


@pytest.fixture
def inside_a_jail(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `hearth` where the kernel grants no further namespaces, as in a hardened container."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        jail = [str(find_bwrap()), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--"]
        return subprocess.run([*jail, HEARTH, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def kept(hearth_home: Path) -> Callable[[], list[RunRow]]:
    """The runs in the database, the newest first."""

    def read() -> list[RunRow]:
        with Store.open(load_settings().database_url) as store, store.read() as session:
            return list(runs.list(session))

    return read


@pytest.fixture
def terminal(workspace: Path) -> Callable[..., Shown]:
    """Runs `hearth` at a terminal. `typing` pairs what to wait for with what is then typed."""

    def run(*arguments: str, typing: Sequence[tuple[str, str]] = (), **environment: str) -> Shown:
        child, screen = pty.fork()
        if child == 0:
            os.execve(HEARTH, ["hearth", *arguments], {**os.environ, "TERM": "xterm-256color", **environment})
        raw = _converse(screen, list(typing))
        _, status = os.waitpid(child, 0)
        os.close(screen)
        return Shown(os.waitstatus_to_exitcode(status), _TERMINAL_CODES.sub("", raw).replace("\r\n", "\n"), raw)

    return run


def _converse(screen: int, typing: list[tuple[str, str]]) -> str:
    seen, answered = b"", 0
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if not select.select([screen], [], [], 0.1)[0]:
            continue
        with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
            seen += (more := os.read(screen, 65536))
            if more:
                while typing and typing[0][0].encode() in seen[answered:]:
                    answered = len(seen)
                    os.write(screen, typing.pop(0)[1].encode())
                continue
        return seen.decode(errors="replace")
    raise TimeoutError(seen.decode(errors="replace"))
