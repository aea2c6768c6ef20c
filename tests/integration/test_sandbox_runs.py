"""What a command in the sandbox gets and gives: streams, files, changes, limits, cancelling, company."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxError, WorkspaceError
from openhearth.tools.sandbox import BwrapSandbox, open_sandbox


@pytest.fixture
async def sandbox() -> BwrapSandbox:
    return await open_sandbox(SandboxSettings())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    return folder


async def test_streams_and_exit_code(sandbox: BwrapSandbox, workspace: Path) -> None:
    result = await sandbox.run(["sh", "-c", "cat; echo problem >&2; exit 7"], workspace=workspace, stdin=b"hello\n")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "hello\n", "problem\n")
    assert not result.timed_out
    assert not result.truncated
    assert result.killed_for == ""
    assert result.duration_s > 0


async def test_large_input_that_nobody_reads(sandbox: BwrapSandbox, workspace: Path) -> None:
    result = await sandbox.run(["true"], workspace=workspace, stdin=b"x" * 5_000_000)
    assert result.exit_code == 0


async def test_death_by_signal_reads_as_shells_write_it(sandbox: BwrapSandbox, workspace: Path) -> None:
    assert (await sandbox.run(["sh", "-c", "kill -9 $$"], workspace=workspace)).exit_code == 137
    # The first process in the namespace is the launcher, not the command.
    assert (await sandbox.run(["sh", "-c", "echo $$"], workspace=workspace)).stdout != "1\n"


async def test_unknown_command(sandbox: BwrapSandbox, workspace: Path) -> None:
    result = await sandbox.run(["no-such-command"], workspace=workspace)
    assert result.exit_code == 1
    assert result.stderr == "no-such-command: No such file or directory\n"


async def test_place_environment_and_files(sandbox: BwrapSandbox, workspace: Path) -> None:
    program = b"""
import getpass, os, sys
print(os.getcwd(), os.environ["HOME"], getpass.getuser(), sys.argv[1:])
print(open("/input/data.bin", "rb").read())
print(sorted(os.listdir("/input")), os.access("/input", os.W_OK))
"""
    result = await sandbox.run(
        ["python", "/input/main.py", "a b"], workspace=workspace, files={"main.py": program, "data.bin": b"\x00\xff"}
    )
    assert result.stdout.splitlines() == [
        "/workspace /home/agent agent ['a b']",
        "b'\\x00\\xff'",
        "['data.bin', 'main.py'] False",
    ]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
async def test_input_names_are_plain(sandbox: BwrapSandbox, workspace: Path, name: str) -> None:
    with pytest.raises(SandboxError, match="plain file name"):
        await sandbox.run(["true"], workspace=workspace, files={name: b""})


async def test_changes_are_applied_whatever_the_exit_code(sandbox: BwrapSandbox, workspace: Path) -> None:
    script = "echo two > a.txt; mkdir new; echo b > new/b.txt; exit 3"
    result = await sandbox.run(["sh", "-c", script], workspace=workspace)
    assert result.exit_code == 3
    assert [(change.path, change.kind) for change in result.changes] == [("a.txt", "modified"), ("new/b.txt", "added")]
    assert (workspace / "a.txt").read_text() == "two\n"
    assert (workspace / "new/b.txt").read_text() == "b\n"
    assert (workspace / "new/b.txt").stat().st_uid == workspace.stat().st_uid


async def test_a_killed_command_changes_nothing(sandbox: BwrapSandbox, workspace: Path) -> None:
    result = await sandbox.run(["sh", "-c", "echo two > a.txt; sleep 60"], workspace=workspace, timeout_s=0.5)
    assert result.timed_out
    assert result.exit_code is None
    assert result.changes == ()
    assert (workspace / "a.txt").read_text() == "one\n"


async def test_read_only_runs_cannot_write(sandbox: BwrapSandbox, workspace: Path) -> None:
    result = await sandbox.run(["sh", "-c", "echo two > a.txt"], workspace=workspace, read_only=True)
    assert result.exit_code != 0
    assert "Read-only file system" in result.stderr or "Permission denied" in result.stderr
    assert result.changes == ()


async def test_python_finds_the_standard_library_first_and_the_workspace_last(
    sandbox: BwrapSandbox, workspace: Path
) -> None:
    (workspace / "random.py").write_text("raise SystemExit('the wrong one')\n")
    (workspace / "mine.py").write_text("VALUE = 3\n")
    program = b"import random, mine, sys; print(mine.VALUE, random.randint(2, 2), __name__, sys.flags.isolated)"
    result = await sandbox.run(["python", "/input/m.py"], workspace=workspace, files={"m.py": program})
    assert result.stdout == "3 2 __main__ 1\n"


async def test_python_is_there_for_shell_scripts_too(sandbox: BwrapSandbox, workspace: Path) -> None:
    script = "python3 -c 'import sqlite3, ssl, ctypes, duckdb; print(duckdb.sql(\"select 42\").fetchall())'; python -V"
    result = await sandbox.run(["sh", "-c", script], workspace=workspace)
    assert result.stdout.startswith("[(42,)]\nPython 3."), result
    assert "duckdb" in sandbox.packages


async def test_runs_side_by_side_do_not_meet(sandbox: BwrapSandbox, tmp_path: Path) -> None:
    folders = [tmp_path / f"w{number}" for number in range(4)]
    for folder in folders:
        folder.mkdir()
    script = "ls /tmp /workspace; echo mine > own.txt; touch /tmp/own; sleep 0.2; ls /proc | grep -c '^[0-9]'"
    results = await asyncio.gather(*(sandbox.run(["sh", "-c", script], workspace=folder) for folder in folders))
    assert all(result.exit_code == 0 for result in results)
    assert {result.stdout.splitlines()[0] for result in results} == {"/tmp:"}
    assert all("own" not in result.stdout for result in results)
    assert all(int(result.stdout.splitlines()[-1]) < 8 for result in results)
    assert all([change.path for change in result.changes] == ["own.txt"] for result in results)


async def test_cancelling_twice_still_cleans_up(sandbox: BwrapSandbox, workspace: Path) -> None:
    for delay in (0.0, 0.01, 0.05, 0.2):
        task = asyncio.create_task(sandbox.run(["sh", "-c", "echo two > a.txt; sleep 60"], workspace=workspace))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (workspace / "a.txt").read_text() == "one\n"
    assert [path.name for path in sandbox._scratch.folder.iterdir() if path.name.startswith("run-")] == []


async def test_no_descriptors_are_lost(sandbox: BwrapSandbox, workspace: Path) -> None:
    await sandbox.run(["true"], workspace=workspace)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        await sandbox.run(["true"], workspace=workspace)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_a_sandbox_serves_several_event_loops(sandbox: BwrapSandbox, workspace: Path) -> None:
    def elsewhere() -> str:
        return asyncio.run(sandbox.run(["echo", "hi"], workspace=workspace)).stdout

    assert await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(2))) == ["hi\n", "hi\n"]


async def test_missing_workspace(sandbox: BwrapSandbox, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="There is no folder"):
        await sandbox.run(["true"], workspace=tmp_path / "nowhere")


async def test_files_that_we_cannot_read_are_noted(sandbox: BwrapSandbox, workspace: Path) -> None:
    (workspace / "closed.txt").write_text("x")
    (workspace / "closed.txt").chmod(0)
    result = await sandbox.run(["ls"], workspace=workspace)
    if os.geteuid() == 0:  # who can read everything
        assert result.notes == ()
    else:
        assert result.notes == ("closed.txt was left out: Permission denied",)
        assert result.stdout == "a.txt\n"
    assert (workspace / "closed.txt").exists()
