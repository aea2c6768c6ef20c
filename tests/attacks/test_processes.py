"""Outliving the call, and reaching processes outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from support.arena import PRELUDE, Arena

from openhearth.tools.sandbox.scratch import sweep

DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(0, 3):
            os.close(fd)
        for _ in range(600):
            with open(sys.argv[1], "a") as file:
                file.write("tick\\n")
            time.sleep(0.05)
        os._exit(0)
    os._exit(0)
os.wait()
time.sleep(0.3)
report(ticks=read(sys.argv[1]).count("tick"))
"""


async def test_daemons_die_with_the_call(arena: Arena) -> None:
    control = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PRELUDE + DAEMON,
            str(arena.open_folder / "ticks"),
            arena.mark,
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    control.wait(timeout=30)
    try:
        assert arena.survivors()
    finally:
        for pid in arena.survivors():
            os.kill(pid, 9)
    result = await arena.inside(DAEMON, "ticks")
    assert result.exit_code == 0
    assert arena.survivors() == []
    ticks = (arena.workspace / "ticks").read_text()
    assert ticks.count("tick") >= 1
    time.sleep(0.2)
    assert (arena.workspace / "ticks").read_text() == ticks


async def test_killing_everything_kills_only_the_sandbox(arena: Arena) -> None:
    kill = """
pid = os.fork()
if pid == 0:
    time.sleep(20)
    os._exit(0)
outcomes = {str(pid): attempt(os.kill, pid, signal.SIGKILL)}
os.waitpid(pid, 0)
if sys.argv[1] == "inside":
    outcomes |= {"host": attempt(os.kill, int(sys.argv[2]), signal.SIGKILL), "group": attempt(os.killpg, 1, 0)}
    attempt(os.kill, 1, signal.SIGKILL)
report(outcomes=list(outcomes.values()))
if sys.argv[1] == "inside":
    os.kill(-1, signal.SIGKILL)
"""
    assert arena.outside(kill, "outside")["outcomes"] == ["worked"]
    # The bystander has the very uid that the sandboxed program has on the host.
    bystander = subprocess.Popen(["sleep", "60"], **({"user": 65534} if os.geteuid() == 0 else {}))  # type: ignore[call-overload]
    try:
        result = await arena.inside(kill, "inside", bystander.pid)
        assert '"worked", "ESRCH"' in result.stdout
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_death_of_the_host_program_ends_the_sandbox(arena: Arena) -> None:
    host = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from support.arena import Arena, PRELUDE
from openhearth.config import SandboxSettings
from openhearth.tools.sandbox import open_sandbox
async def main():
    sandbox = await open_sandbox(SandboxSettings())
    program = PRELUDE + "os.fork()\\ntime.sleep(120)"
    await sandbox.run(["python", "/input/{arena.mark}.py"], workspace=Path({str(arena.workspace)!r}),
                      files={{"{arena.mark}.py": program.encode()}})
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", host])
    try:
        deadline = time.monotonic() + 60
        while len(arena.survivors()) < 3 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while arena.survivors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert arena.survivors() == []
    sweep()  # the killed program could not remove its scratch folder


async def test_stopping_itself_does_not_stop_the_clock(arena: Arena) -> None:
    result = await arena.inside("os.kill(os.getpid(), signal.SIGSTOP)", timeout_s=1)
    assert result.timed_out
    assert arena.survivors() == []


async def test_terminal_escapes_do_not_pass(arena: Arena) -> None:
    result = await arena.inside("print('\\x1b]0;owned\\x07\\x1b[2Jtext\\x9b31m\\u202e')")
    assert result.stdout == "text\n"
