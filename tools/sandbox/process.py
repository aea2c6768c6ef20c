"""Running bwrap: its descriptors, its output, its end, and the certainty that nothing in it lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhearth.errors import SandboxError
from openhearth.tools.sandbox.capture import Capture
from openhearth.tools.sandbox.descriptors import Inherited, pieces, readable
from openhearth.tools.sandbox.finish import finish
from openhearth.tools.sandbox.staging import sandbox_user

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
    with Inherited() as inherited, contextlib.ExitStack() as kept:
        host, alive = socket.socketpair()
        kept.enter_context(alive)
        watched = inherited.add(host.detach())
        status, writing = os.pipe()
        kept.callback(os.close, status)
        inherited.add(writing)
        # Without a reader of its own, bwrap's first half would be killed by telling us when we are dead, and leave its
        # second half waiting for it.
        inherited.add(os.dup(status))
        filter_fd = inherited.content(seccomp)
        arguments = inherited.content("\0".join([*options, "--seccomp", str(filter_fd)]).encode())
        argv = [str(bwrap), "--args", str(arguments), "--json-status-fd", str(writing), "--", *command(watched)]
        process = _start(argv, inherited.content(stdin), inherited.fds)
        kept.callback(_let_go, process)
        inherited.close()
        run = _Run(process, status, alive, Ended(None, Capture(output_limit), Capture(output_limit)))
        try:
            await run.attend(timeout_s, watch, interval_s)
        finally:
            # Whoever cancels, and however often: nothing may be left behind.
            await finish(run.bury())
    return run.ended


def _start(argv: Sequence[str], stdin: int, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start bwrap. Not through asyncio, whose own way can hang when it is cancelled half way."""
    user = sandbox_user()
    identity: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=inherited,
            env={},  # it can be read inside, at /proc/1/environ
            cwd="/",
            start_new_session=True,  # Ctrl-C in our terminal is ours to handle
            **identity,
        )
    except OSError as error:
        raise SandboxError(
            f"Cannot start {argv[0]}: {error.strerror}.", hint="`hearth doctor` finds out why."
        ) from error


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close our ends and reap it, without waiting: it is dead, or cannot be killed."""
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.poll()


class _Run:
    """One bwrap process and what is known about it."""

    def __init__(self, process: subprocess.Popen[bytes], status: int, alive: socket.socket, ended: Ended) -> None:
        self._process = process
        self._outer = os.pidfd_open(process.pid)
        self._init: int | None = None  # pidfd of the sandbox's first process
        self._init_known = False
        self._status = status
        self._said = b""  # on the status pipe
        self._alive = alive
        self.ended = ended

    async def attend(self, timeout_s: float, watch: Callable[[int], Callable[[], str]], interval_s: float) -> None:
        started = time.monotonic()
        ending = asyncio.gather(
            _drain(self._process.stdout, self.ended.stdout),
            _drain(self._process.stderr, self.ended.stderr),
            readable(self._outer),
        )
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
            ending.cancel()
        if not (self.ended.timed_out or self.ended.killed_for):
            self.ended.exit_code = await self._exit_code()

    async def bury(self) -> None:
        """Kill what is left and wait until it is gone: only then may the workspace be read."""
        self._alive.close()
        try:
            async with asyncio.timeout(_DEATH_S):
                await self._learn_init()  # if we were cancelled before bwrap told; it does, or it ends
                self._kill()
                await readable(self._outer)
                if self._init is not None:
                    # The first process of a pid namespace ends after all others in it.
                    await readable(self._init)
        except TimeoutError as error:
            self._process.kill()
            raise SandboxError("A sandboxed process cannot be killed.", hint="Look for stuck disks.") from error
        finally:
            for fd in (self._outer, self._init):
                if fd is not None:
                    os.close(fd)

    def _kill(self) -> None:
        """Kill the sandbox's first process, and with it all others; bwrap itself ends when it has gone.

        Killing bwrap instead could leave its half in the sandbox waiting for the other.
        """
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    async def _learn_init(self) -> int | None:
        """The host pid of the sandbox's first process, which bwrap tells once it has made it; None: it never did."""
        if b"\n" not in self._said:
            async with contextlib.aclosing(pieces(self._status)) as told:
                async for piece in told:
                    self._said += piece
                    if b"\n" in self._said:
                        break
        line, end, _ = self._said.partition(b"\n")
        pid: int | None = json.loads(line)["child-pid"] if end else None
        if pid is not None and not self._init_known:
            self._init_known = True
            with contextlib.suppress(ProcessLookupError):
                self._init = os.pidfd_open(pid)
        return pid

    async def _exit_code(self) -> int:
        """What bwrap says on the status pipe at the end. Raises SandboxError when it says nothing: it did not start."""
        async for piece in pieces(self._status):
            self._said += piece
        codes = [json.loads(line).get("exit-code") for line in self._said.splitlines() if line.strip()]
        code = next((int(code) for code in codes if code is not None), None)
        if code is None:
            said = self.ended.stderr.text().strip() or "bwrap ended without a word"
            raise SandboxError(f"The sandbox could not start: {said}", hint="`hearth doctor` finds out why.")
        return code


async def _drain(stream: Any, capture: Capture) -> None:
    """Read to the end whatever comes: a full pipe would stop the program, an unbounded buffer would fill memory."""
    async for piece in pieces(stream.fileno()):
        capture.feed(piece)
