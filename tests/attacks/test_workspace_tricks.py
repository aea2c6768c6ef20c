"""Planting things in the workspace that make the host, or the file tools, reach beyond it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.arena import Arena

from openhearth.errors import WorkspaceError
from openhearth.tools.base import ToolContext
from openhearth.tools.builtin import builtin_tools
from openhearth.tools.folder import Folder
from openhearth.tools.sandbox import open_sandbox
from openhearth.tools.toolset import Toolset


async def test_writing_through_a_planted_link(arena: Arena) -> None:
    plant = """
os.symlink(sys.argv[1], "link")
report(outcome=attempt(write, "link", "owned"))
"""
    control = arena.folder / "control"
    control.mkdir()
    assert arena.outside(plant, arena.bait, cwd=control)["outcome"] == "worked"
    assert arena.bait.read_text() == "owned"
    arena.bait.write_text("bait")
    result = await arena.inside(plant, arena.bait)
    assert '"ENOENT"' in result.stdout
    assert arena.bait.read_text() == "bait"
    assert list(arena.workspace.iterdir()) == []


async def test_reading_through_a_link_that_was_there(arena: Arena) -> None:
    (arena.workspace / "link").symlink_to(arena.bait)
    (arena.workspace / "up").symlink_to("../open")
    look = "report(outcomes=[attempt(read, path) for path in sys.argv[1:]])"
    paths = ("link", "up/bait.txt", "../open/bait.txt")
    assert arena.outside(look, *paths, cwd=arena.workspace)["outcomes"] == ["worked"] * 3
    assert (await arena.found(look, *paths))["outcomes"] == ["ENOENT"] * 3


async def test_hard_links_do_not_reach_the_host(arena: Arena) -> None:
    link = "report(outcome=attempt(os.link, sys.argv[1], 'hard'))"
    assert arena.outside(link, arena.bait)["outcome"] == "worked"
    assert (await arena.found(link, arena.bait))["outcome"] == "ENOENT"
    assert (await arena.found(link, "/etc/passwd"))["outcome"] in ("EXDEV", "EPERM")
    # A hard link that was there leads to the same file outside: it is replaced, not written through.
    os.link(arena.bait, arena.workspace / "twin")
    await arena.found("report(outcome=attempt(write, 'twin', 'owned'))")
    assert (arena.workspace / "twin").read_text() == "owned"
    assert arena.bait.read_text() == "bait"


async def test_replacing_a_folder_by_a_link(arena: Arena) -> None:
    (arena.workspace / "data").mkdir()
    (arena.workspace / "data" / "bait.txt").write_text("mine")
    swap = """
import shutil
shutil.rmtree("data")
os.symlink(sys.argv[1], "data")
report()
"""
    result = await arena.inside(swap, arena.open_folder)
    assert result.changes == () or {change.kind for change in result.changes} == {"deleted"}
    assert arena.bait.read_text() == "bait"
    assert not (arena.workspace / "data").is_symlink()


async def test_git_is_neither_seen_nor_made(arena: Arena) -> None:
    (arena.workspace / ".git").mkdir()
    (arena.workspace / ".git" / "config").write_text("url = https://token@host/")
    plant = """
seen = os.path.exists(".git")
for folder in (".git", "sub/.git", "other/.GIT"):
    os.makedirs(f"{folder}/hooks", exist_ok=True)
    write(f"{folder}/hooks/pre-commit", "#!/bin/sh")
    write(f"{folder}/config", "[core] fsmonitor = evil")
report(seen=seen)
"""
    assert await arena.found(plant) == {"seen": False}
    assert (arena.workspace / ".git" / "config").read_text() == "url = https://token@host/"
    planted = [path for path in arena.workspace.rglob("*") if path.name.lower() == ".git"]
    assert planted == [arena.workspace / ".git"]
    assert not (arena.workspace / ".git" / "hooks").exists()


async def test_settings_cannot_be_changed_from_inside(arena: Arena) -> None:
    result = await arena.inside("write('hearth.toml', '[agent]\\napprove = \"auto\"\\n')\nreport()")
    assert not (arena.workspace / "hearth.toml").exists()
    assert any("hearth.toml" in note for note in result.notes)


@pytest.mark.parametrize("name", ["sitecustomize.py", "usercustomize.py", "csv.py"])
async def test_python_files_in_the_workspace_run_only_when_imported(arena: Arena, name: str) -> None:
    (arena.workspace / name).write_text("print('hijacked')\n")
    control = subprocess.run(
        [sys.executable, "-c", "import csv"],
        env={"PYTHONPATH": str(arena.workspace)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "hijacked" in control.stdout or name == "usercustomize.py"
    result = await arena.inside("import csv\nprint(csv.__name__)")
    assert result.stdout == "csv\n"


async def test_a_planted_fifo_blocks_nobody(arena: Arena) -> None:
    os.mkfifo(arena.workspace / "fifo")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["cat", str(arena.workspace / "fifo")], timeout=0.3, check=False, capture_output=True)
    tools = Toolset(builtin_tools(["read_file", "write_file", "edit_file", "search_text", "list_files"]))
    context = ToolContext(arena.workspace, await open_sandbox(arena.settings), "run", "call", "key")
    for name, arguments in (
        ("read_file", {"path": "fifo"}),
        ("write_file", {"path": "fifo", "content": "x"}),
        ("edit_file", {"path": "fifo", "old_text": "a", "new_text": "b"}),
    ):
        with pytest.raises(WorkspaceError, match="not a regular file"):
            await asyncio.wait_for(tools.get(name).call(arguments, context), 10)
    found = await asyncio.wait_for(tools.get("search_text").call({"pattern": "."}, context), 10)
    assert found.content == "No line matches."
    result = await arena.inside("os.mkfifo('another')\nreport()")
    assert result.exit_code == 0
    assert [path.name for path in arena.workspace.iterdir()] == ["fifo"]


@contextmanager
def swapping(workspace: Path, outside: Path) -> Iterator[None]:
    """`door` is now a folder, now a link to `outside`, as fast as can be."""
    real, link, door = workspace / "real", workspace / "link", workspace / "door"
    real.mkdir()
    (real / "bait.txt").write_text("inside")
    link.symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for side in (real, link):
                while True:
                    try:
                        side.rename(door)
                        break
                    except OSError:  # a tool has made a folder of this name meanwhile
                        shutil.rmtree(door, ignore_errors=True)
                door.rename(side)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_swapping_a_folder_for_a_link_while_tools_work(arena: Arena) -> None:
    seconds = 1.5
    with swapping(arena.workspace, arena.open_folder):
        naive: set[str] = set()
        deadline = time.monotonic() + 20
        while "bait" not in naive and time.monotonic() < deadline:
            try:
                naive.add((arena.workspace / "door" / "bait.txt").read_text())
            except OSError:
                continue
        assert "bait" in naive  # the race is real
        seen: set[bytes] = set()
        written = 0
        deadline = time.monotonic() + seconds
        with Folder(arena.workspace) as folder:
            while time.monotonic() < deadline:
                try:
                    seen.add(folder.read("door/bait.txt", 100))
                    folder.write("door/bait.txt", b"inside")
                    written += 1
                except WorkspaceError:
                    continue
    assert seen <= {b"inside"}
    assert arena.bait.read_text() == "bait"
    assert sorted(path.name for path in arena.open_folder.iterdir()) == ["bait.txt"]
