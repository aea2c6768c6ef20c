"""Scratch folders: removed whatever is in them, and swept up after processes that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from openhearth.tools.sandbox.scratch import Scratch, remove, sweep


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_removes_hostile_trees(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept.txt").write_text("kept")
    folder = tmp_path / "hostile"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(victim)
    (folder / ".remove-0").mkdir()
    (folder / "a" / ".remove-0").mkdir()
    os.mkfifo(folder / "a" / "b" / "fifo")
    (folder / "a" / "b").chmod(0)
    (folder / "a").chmod(0o500)
    remove(folder)
    assert not folder.exists()
    assert (victim / "kept.txt").read_text() == "kept"


def test_removes_trees_deeper_than_any_path(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("d" * 100, dir_fd=fd)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove(folder)
    assert not folder.exists()


def test_runs_are_closed_to_listing_and_removed_at_the_end(temporary_folder: Path) -> None:
    scratch = Scratch()
    run = scratch.new_run()
    assert run.stat().st_mode & 0o777 == 0o711
    assert scratch.folder.stat().st_mode & 0o777 == 0o711
    scratch.close()
    scratch.close()
    assert list(temporary_folder.iterdir()) == []


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(temporary_folder: Path) -> None:
    program = "import os, signal\nfrom openhearth.tools.sandbox.scratch import Scratch\nScratch().new_run()\n"
    killed = subprocess.run([sys.executable, "-c", program + "os.kill(os.getpid(), signal.SIGKILL)"], check=False)
    assert killed.returncode == -9
    (orphan,) = temporary_folder.iterdir()
    alive = Scratch()
    assert not orphan.exists()
    unrelated = temporary_folder / "openhearth-other"
    unrelated.mkdir()
    sweep()
    assert alive.folder.is_dir()
    assert unrelated.is_dir()
    alive.close()


def test_sweep_removes_a_folder_without_a_lock_only_when_it_is_old(temporary_folder: Path) -> None:
    fresh, old = (temporary_folder / f"openhearth-scratch-{name}" for name in ("fresh", "old"))
    for folder in (fresh, old):
        (folder / "run-1").mkdir(parents=True)
    os.utime(old, (1, 1))
    sweep()
    assert fresh.is_dir()
    assert not old.exists()


def test_a_process_that_ends_leaves_nothing(temporary_folder: Path) -> None:
    program = "from openhearth.tools.sandbox.scratch import Scratch\nScratch().new_run().joinpath('x').mkdir()\n"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert list(temporary_folder.iterdir()) == []
