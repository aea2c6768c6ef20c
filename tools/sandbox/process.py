"""Running bwrap: its descriptors, its output, its end, and the certainty that nothing in it lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
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
    command: Sequence[str],
    *,
    seccomp: bytes,
    stdin: bytes,
    output_limit: int,
    timeout_s: float,
    watch: Callable[[int], Callable[[], str]],
    interval_s: float,
) -> Ended:
    """Run `command` in bwrap and return when every process in it is dead.

    `watch` is handed the host pid of the sandbox's first process and returns a check that is called, in a thread,
    every `interval_s`; what it says ends the run. Raises SandboxError when bwrap could not start the command.
    """
    with _Descriptors() as descriptors:
        status, writing = os.pipe()
        descriptors.inherit(writing)
        filter_fd = descriptors.content(seccomp)
        arguments = descriptors.content("\0".join([*options, "--seccomp", str(filter_fd)]).encode())
        own = ["--args", str(arguments), "--json-status-fd", str(writing)]
        reader, transport = await _stream(status)
        try:
            process = await _start([str(bwrap), *own, "--", *command], descriptors.inherited)
            descriptors.close()
            run = _Run(process, reader, Ended(None, Capture(output_limit), Capture(output_limit)))
            try:
                await run.attend(stdin, timeout_s, watch, interval_s)
            finally:
                await finish(run.bury())
        finally:
            transport.close()
    return run.ended


class _Run:
    """One bwrap process and what is known about it."""

    def __init__(self, process: asyncio.subprocess.Process, status: asyncio.StreamReader, ended: Ended) -> None:
        self._process = process
        self._status = status
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
        try:
            check = await self._begin(watch)
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
        self._kill()
        await self._process.wait()
        if self._init is not None:
            deadline = time.monotonic() + _DEATH_S
            while not _has_ended(self._init):
                if time.monotonic() > deadline:
                    raise SandboxError("A sandboxed process cannot be killed.", hint="Look for stuck disks or mounts.")
                await asyncio.sleep(0.001)
            os.close(self._init)
            self._init = None

    def _kill(self) -> None:
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _write(self, data: bytes) -> None:
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                pipe.write(data)
                await pipe.drain()
            pipe.close()

    async def _begin(self, watch: Callable[[int], Callable[[], str]]) -> Callable[[], str] | None:
        """Learn the sandbox's first process, which bwrap tells as soon as it has made it; None if it never did."""
        line = await self._status.readline()
        pid = json.loads(line)["child-pid"] if line else None
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._init = os.pidfd_open(pid)
        return watch(pid)

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


def _has_ended(pidfd: int) -> bool:
    """Whether the process is dead. The first process of a pid namespace dies after all others in it."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


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
