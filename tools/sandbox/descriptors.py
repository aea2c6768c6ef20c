"""File descriptors: waited for, read without ever blocking the loop, and handed to a child."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator

_PIECE = 1 << 16
_UNCHANGEABLE = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


async def readable(fd: int) -> None:
    """Wait until `fd` can be read: for a pidfd, until its process has ended."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def pieces(fd: int) -> AsyncGenerator[bytes]:
    """What comes out of a pipe, to its end. Nothing is lost when this is cancelled and begun again.

    The pipe is made non-blocking: a hostile writer can open it anew through /proc and read what made it readable.
    """
    os.set_blocking(fd, False)
    while True:
        await readable(fd)
        with contextlib.suppress(BlockingIOError):
            piece = os.read(fd, _PIECE)
            if not piece:
                return
            yield piece


class Inherited:
    """Descriptors for a child, closed here whatever happens; a context manager."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def __enter__(self) -> Inherited:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, fd: int) -> int:
        self.fds.append(fd)
        return fd

    def content(self, data: bytes) -> int:
        """A descriptor from which `data` can be read, and which nobody can write."""
        fd = self.add(os.memfd_create("hearth", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _UNCHANGEABLE)
        return fd

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
