"""Running bwrap: its descriptors, its output, its end, and the certainty that nothing in it lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openhearth.errors import SandboxError
from openhearth.tools.sandbox.capture import Capture
from openhearth.tools.sandbox.finish import finish
from openhearth.tools.sandbox.staging import sandbox_user

_PIECE = 1 << 16
_DEATH_S = 10.0


@dataclass(slots=True)
class Ended:
    """How a command ended. `exit_code` is None when it was killed from outside."""

    exit_code: int | None
    stdout: Capture
    stderr: Capture
    timed_out: bool = False
    killed_for: str = ""


async def run_bwrap(
    bwrap: Path,
    options: Sequence[str],
    command: Callable[[int], Sequence[str]],
    *,
    seccomp: bytes,
    stdin: bytes,
    output_limit: int,
    timeout_s: float,
    watch: Callable[[int], Callable[[], str]],
    interval_s: float,
) -> Ended:
    """Run a command in bwrap and return when every process in it is dead.

    `command` is handed the number of a descriptor that hangs up when we die, for its first program to watch. It is a
    socket, since the program in the sandbox could open a pipe anew through /proc and keep it from hanging up.
    `watch` is handed the host pid of the sandbox's first process and returns a check that is called, in a thread,
    every `interval_s`; what it says ends the run. Raises SandboxError when bwrap could not start the command.
    """
    with _Descriptors() as descriptors:
        host, alive = socket.socketpair()
        descriptors.inherit(host.detach())
        status, writing = os.pipe()
        descriptors.inherit(writing)
        # Without a reader of its own, bwrap's first half would be killed by telling us when we are dead, and leave its
        # second half waiting for it.
        descriptors.inherit(os.dup(status))
        filter_fd = descriptors.content(seccomp)
        arguments = descriptors.content("\0".join([*options, "--seccomp", str(filter_fd)]).encode())
        argv = [str(bwrap), "--args", str(arguments), "--json-status-fd", str(writing), "--"]
        reader, transport = await _stream(status)
        with alive, contextlib.closing(transport):
            process = await _start([*argv, *command(descriptors.inherited[0])], descriptors.inherited)
            descriptors.close()
            run = _Run(process, reader, alive, Ended(None, Capture(output_limit), Capture(output_limit)))
            try:
                await run.attend(stdin, timeout_s, watch, interval_s)
            finally:
                await finish(run.bury())
    return run.ended


class _Run:
    """One bwrap process and what is known about it."""

    def __init__(
        self, process: asyncio.subprocess.Process, status: asyncio.StreamReader, alive: socket.socket, ended: Ended
    ) -> None:
        self._process = process
        self._status = status
        self._alive = alive
        self._init: int | None = None  # pidfd of the sandbox's first process
        self.ended = ended

    async def attend(
        self, stdin: bytes, timeout_s: float, watch: Callable[[int], Callable[[], str]], interval_s: float
    ) -> None:
        started = time.monotonic()
        streams = [
            asyncio.create_task(self._write(stdin)),
            asyncio.create_task(_drain(self._process.stdout, self.ended.stdout)),
            asyncio.create_task(_drain(self._process.stderr, self.ended.stderr)),
        ]
        ending = asyncio.gather(*streams, self._process.wait())
        # Seen even when we are cancelled and nobody asks, or asyncio complains about it at exit.
        ending.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            pid = await self._learn_init()
            check = watch(pid) if pid is not None else None
            while not ending.done():
                left = started + timeout_s - time.monotonic()
                if left <= 0:
                    self.ended.timed_out = True
                    break
                await asyncio.wait([ending], timeout=min(left, interval_s))
                if check and not ending.done() and (broken := await asyncio.to_thread(check)):
                    self.ended.killed_for = broken
                    break
            if not ending.done():
                self._kill()
            await ending
        finally:
            for stream in streams:
                stream.cancel()
        if self.ended.timed_out or self.ended.killed_for:
            return
        code = await self._exit_code()
        if code is None:
            said = self.ended.stderr.text().strip() or f"bwrap ended with code {self._process.returncode}"
            raise SandboxError(f"The sandbox could not start: {said}", hint="`hearth doctor` finds out why.")
        self.ended.exit_code = code

    async def bury(self) -> None:
        """Kill what is left and wait until it is gone: only then may the workspace be read."""
        self._alive.close()
        if self._init is None:
            await self._learn_init()  # we were cancelled before bwrap told; it does, or it ends
        self._kill()
        try:
            async with asyncio.timeout(_DEATH_S):
                await self._process.wait()
                if self._init is not None:
                    await _death(self._init)
        except TimeoutError as error:
            raise SandboxError("A sandboxed process cannot be killed.", hint="Look for stuck disks.") from error
        finally:
            if self._init is not None:
                os.close(self._init)

    def _kill(self) -> None:
        """Kill the sandbox's first process, and with it all others; bwrap itself ends when it has gone.

        Killing bwrap instead could leave its half in the sandbox waiting for the other.
        """
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    async def _write(self, data: bytes) -> None:
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                pipe.write(data)
                await pipe.drain()
            pipe.close()

    async def _learn_init(self) -> int | None:
        """The host pid of the sandbox's first process, which bwrap tells once it has made it; None: it never did."""
        line = await self._status.readline()
        pid: int | None = json.loads(line)["child-pid"] if line else None
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                self._init = os.pidfd_open(pid)
        return pid

    async def _exit_code(self) -> int | None:
        rest = await self._status.read()
        codes = [json.loads(line).get("exit-code") for line in rest.splitlines() if line.strip()]
        return next((int(code) for code in codes if code is not None), None)


async def _start(argv: Sequence[str], inherited: Sequence[int]) -> asyncio.subprocess.Process:
    user = sandbox_user()
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            env={},  # it can be read inside, at /proc/1/environ
            cwd="/",
            start_new_session=True,  # Ctrl-C in our terminal is ours to handle
            limit=_PIECE,
            **identity,  # type: ignore[arg-type]
        )
    except OSError as error:
        raise SandboxError(
            f"Cannot start {argv[0]}: {error.strerror}.", hint="`hearth doctor` finds out why."
        ) from error


async def _drain(stream: asyncio.StreamReader | None, capture: Capture) -> None:
    """Read to the end whatever comes: a full pipe would stop the program, an unbounded buffer would fill memory."""
    while stream is not None and (piece := await stream.read(_PIECE)):
        capture.feed(piece)


async def _death(pidfd: int) -> None:
    """Wait for a process to end. The first one of a pid namespace ends after all others in it."""
    dead = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, dead.set)
    try:
        await dead.wait()
    finally:
        loop.remove_reader(pidfd)


async def _stream(fd: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(fd, "rb", 0))
    return reader, transport


class _Descriptors:
    """Descriptors that bwrap inherits, closed whatever happens."""

    def __init__(self) -> None:
        self.inherited: list[int] = []

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inherit(self, fd: int) -> None:
        self.inherited.append(fd)

    def content(self, data: bytes) -> int:
        """A descriptor from which `data` can be read."""
        fd = os.memfd_create("hearth", os.MFD_CLOEXEC)
        self.inherit(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def close(self) -> None:
        """Close them here; bwrap has its own."""
        for fd in self.inherited:
            os.close(fd)
        self.inherited.clear()
