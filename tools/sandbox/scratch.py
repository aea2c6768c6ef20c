"""The folder in which runs are prepared, and its removal, however hostile its content or sudden our end."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from openhearth.tools.tree import OPEN_FOLDER

_PREFIX = "openhearth-scratch-"
_LOCK = "lock"
_ABANDONED_S = 600.0


class Scratch:
    """A private folder of this process. Folders that killed processes left behind are removed first."""

    def __init__(self) -> None:
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # The sandbox's user must pass through to its own run, but not list what else is there.
        self.folder.chmod(0o711)
        # Locked before it gets its name, or another process could find it free and sweep us away.
        unnamed = self.folder / f"{_LOCK}.new"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.folder / _LOCK)
        self._owner = os.getpid()
        atexit.register(self.close)

    def new_run(self) -> Path:
        """An empty folder for one run; give it to `remove` afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        folder.chmod(0o711)
        return folder

    def close(self) -> None:
        """Remove everything; at exit this is done by itself. A forked child leaves it to its parent."""
        if self._lock >= 0 and self._owner == os.getpid():
            remove(self.folder)
            os.close(self._lock)
            self._lock = -1


def sweep() -> None:
    """Remove the scratch folders of processes that are no more: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
                _remove_if_left(folder, age_s=time.time() - status.st_mtime)


def _remove_if_left(folder: Path, age_s: float) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        # Just being made, or its owner was killed while removing it.
        if age_s > _ABANDONED_S:
            remove(folder)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
    finally:
        os.close(lock)


def remove(folder: Path) -> None:
    """Remove a folder whose content may be hostile: closed to us, or nested deeper than paths or stacks can be.

    Every folder within is first moved to the top, so that nothing is ever deeper than two levels. No link is
    followed: all is done by descriptor.
    """
    root = os.open(folder, OPEN_FOLDER | os.O_NOFOLLOW)
    numbers = itertools.count()
    try:
        while names := os.listdir(root):  # noqa: PTH208 - by descriptor
            for name in names:
                _remove_entry(root, name, numbers)
    finally:
        os.close(root)
    folder.rmdir()


def _remove_entry(root: int, name: str, numbers: Iterator[int]) -> None:
    if not _is_folder(root, name):
        os.unlink(name, dir_fd=root)
        return
    os.chmod(name, 0o700, dir_fd=root)
    fd = os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=root)
    try:
        for inner in os.listdir(fd):  # noqa: PTH208 - by descriptor
            if _is_folder(fd, inner):
                # Moving a folder changes its "..", for which it must be writable.
                os.chmod(inner, 0o700, dir_fd=fd)
                os.rename(inner, f".remove-{next(numbers)}", src_dir_fd=fd, dst_dir_fd=root)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=root)


def _is_folder(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
