"""Using up processes, memory, output, time and disk. Outside, each is tried in a size that harms nobody."""

from __future__ import annotations

import asyncio
import resource
import time

import pytest
from support.arena import Arena

from openhearth.config import SandboxSettings

FORK = """
children = []
def fork():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    children.append(pid)
failed = 0
for _ in range(int(sys.argv[1])):
    failed += attempt(fork) != "worked"
if sys.argv[2] == "clean":
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
report(made=len(children), failed=failed)
"""


async def test_a_thousand_processes(arena: Arena) -> None:
    limit = arena.settings.processes
    assert arena.outside(FORK, limit + 20, "clean") == {"made": limit + 20, "failed": 0}
    found = await arena.found(FORK, 1_000, "leave")
    assert 10 < found["made"] < limit
    assert found["made"] + found["failed"] == 1_000
    assert arena.survivors() == []


async def test_a_fork_bomb_ends_with_the_time(arena: Arena) -> None:
    bomb = """
while True:
    attempt(os.fork)
"""
    result = await arena.inside(bomb, timeout_s=1)
    assert result.timed_out
    assert arena.survivors() == []


async def test_a_thousand_threads(arena: Arena) -> None:
    threads = """
import threading
made = 0
event = threading.Event()
for _ in range(1_000):
    try:
        threading.Thread(target=event.wait, daemon=True).start()
        made += 1
    except RuntimeError:
        break
report(made=made)
"""
    assert (await arena.found(threads))["made"] < arena.settings.processes


async def test_allocating_8_gib(arena: Arena) -> None:
    take = """
import mmap
def take():
    try:
        mmap.mmap(-1, int(sys.argv[1]) << 20)
    except (MemoryError, OverflowError):
        raise OSError(errno.ENOMEM, "no memory")
report(outcome=attempt(take))
"""
    # More than the sandbox's limit, but never touched: outside this reserves addresses and no memory.
    assert arena.outside(take, arena.settings.memory_mb + 512)["outcome"] == "worked"
    assert (await arena.found(take, arena.settings.memory_mb + 512))["outcome"] == "ENOMEM"
    assert (await arena.found(take, 8 * 1024))["outcome"] == "ENOMEM"
    result = await arena.inside("bytearray(8 << 30)")
    assert result.exit_code == 1
    assert "MemoryError" in result.stderr


async def test_many_processes_share_one_memory_limit(arena: Arena) -> None:
    hoard = """
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1) * (int(sys.argv[1]) << 20))
        time.sleep(20)
        os._exit(0)
time.sleep(float(sys.argv[2]))
report(ended=True)
"""
    arena.settings = SandboxSettings(memory_mb=256)
    assert await arena.found(hoard, 4, 0.5) == {"ended": True}
    result = await arena.inside(hoard, 60, 20)
    assert result.killed_for == "it used more than 256 MB of memory"
    assert result.exit_code is None
    assert result.duration_s < 15
    assert arena.survivors() == []


async def test_memory_shared_without_a_name(arena: Arena) -> None:
    hoard = """
import mmap
held = []
for _ in range(4):
    block = mmap.mmap(-1, 50 << 20)
    block.write(b"x" * (50 << 20))
    held.append(block)
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"""
    arena.settings = SandboxSettings(memory_mb=192)
    result = await arena.inside(hoard)
    # The first to be hit is the process's own limit or the common one.
    assert result.exit_code != 0
    assert result.duration_s < 15


async def test_filling_the_scratch_folders(arena: Arena) -> None:
    fill = """
def fill(folder):
    for number in range(100):
        with open(f"{folder}/{number}", "wb") as file:
            file.write(bytes(10 << 20))
report(outcomes=[attempt(fill, folder) for folder in ("/tmp", os.environ["HOME"], "/dev/shm")])
"""
    arena.settings = SandboxSettings(file_mb=30)
    assert (await arena.found(fill))["outcomes"] == ["ENOSPC", "ENOSPC", "ENOSPC"]


async def test_a_file_has_a_largest_size(arena: Arena) -> None:
    grow = """
def grow():
    with open("large", "wb") as file:
        for _ in range(int(sys.argv[1])):
            file.write(bytes(1 << 20))
report(outcome=attempt(grow))
"""
    arena.settings = SandboxSettings(file_mb=5)
    assert arena.outside(grow, 6)["outcome"] == "worked"
    assert (await arena.found(grow, 6))["outcome"] == "EFBIG"


async def test_filling_the_disk(arena: Arena) -> None:
    fill = """
for number in range(int(sys.argv[1])):
    write(f"file{number}", "x" * (5 << 20))
    time.sleep(0.05)
report(ended=True)
"""
    arena.settings = SandboxSettings(workspace_mb=20)
    assert await arena.found(fill, 2) == {"ended": True}
    result = await arena.inside(fill, 500)
    assert result.killed_for == "the workspace grew beyond 20 MB"
    assert result.changes == ()
    assert len(list(arena.workspace.iterdir())) == 2


async def test_making_files_without_end(arena: Arena) -> None:
    make = """
os.mkdir("many")
for number in range(int(sys.argv[1])):
    os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
report(ended=True)
time.sleep(5)
"""
    arena.settings = SandboxSettings(workspace_files=1_000)
    result = await arena.inside(make, 5_000)
    assert result.killed_for == "the workspace grew beyond 1,000 files"
    assert list(arena.workspace.iterdir()) == []


async def test_open_files_are_limited(arena: Arena) -> None:
    hold = """
held = []
for _ in range(100_000):
    if attempt(lambda: held.append(os.open("/dev/null", os.O_RDONLY))) != "worked":
        break
report(held=len(held))
"""
    assert (await arena.found(hold))["held"] < 512


@pytest.mark.slow
async def test_printing_1_gib(arena: Arena) -> None:
    shout = """
piece = b"x" * (1 << 20)
for _ in range(int(sys.argv[1])):
    os.write(1, piece)
    os.write(2, piece[:1024])
os.write(1, b"\\n")
report(ended=True)
"""
    assert arena.outside(shout, 2) == {"ended": True}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await arena.inside(shout, 1024)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert result.exit_code == 0
    assert result.truncated
    assert result.stdout.endswith('{"ended": true}\n')
    assert len(result.stdout) <= arena.settings.output_kb * 1024 + 100
    assert len(result.stderr) <= arena.settings.output_kb * 1024 + 100
    assert grown_mb < 64


async def test_sleeping_for_ever(arena: Arena) -> None:
    started = time.monotonic()
    result = await arena.inside("write('before.txt')\nprint('begun', flush=True)\ntime.sleep(3600)", timeout_s=1)
    assert result.timed_out
    assert result.exit_code is None
    assert result.stdout == "begun\n"
    assert time.monotonic() - started < 30
    assert arena.survivors() == []
    # What was killed changes nothing.
    assert result.changes == ()
    assert list(arena.workspace.iterdir()) == []


async def test_ignoring_every_signal(arena: Arena) -> None:
    stubborn = """
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
    result = await arena.inside(stubborn, timeout_s=1)
    assert result.timed_out
    assert arena.survivors() == []


async def test_limits_cannot_be_raised(arena: Arena) -> None:
    lift = """
import resource
def lift(name):
    try:
        resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY,) * 2)
    except ValueError:
        raise OSError(errno.EPERM, "refused")
names = ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_CPU")
report(outcomes=[attempt(lift, name) for name in names])
"""
    assert set((await arena.found(lift))["outcomes"]) == {"EPERM"}


async def test_cancelling_kills_everything(arena: Arena) -> None:
    program = "os.fork()\nprint('begun', flush=True)\ntime.sleep(3600)"
    task = asyncio.create_task(arena.inside(program))
    while not arena.survivors():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert arena.survivors() == []
