"""Limits that the kernel cannot set for us without cgroups: all processes' memory together, and the disk."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from openhearth.config import SandboxSettings
from openhearth.tools.text import plural
from openhearth.tools.tree import OPEN_FOLDER, walk

INTERVAL_S = 0.05
_RESERVE = 256 << 20
_MOST_SCRATCH_FILES = 100_000  # an empty file in a tmpfs takes a kilobyte of the kernel's memory and no space
_SCRATCH = ("tmp", "home/agent", "dev/shm")


@dataclass(slots=True)
class Watch:
    """Looks at a running sandbox; calling it says which limit is broken, or nothing."""

    init: int
    """Host pid of the sandbox's first process."""
    workspace: Path
    settings: SandboxSettings
    _round: int = 0

    def __call__(self) -> str:
        """To be called every INTERVAL_S; walks the workspace more rarely. Takes a few milliseconds."""
        self._round += 1
        return self._memory() or self._disk() or (self._folder() if self._round % 8 == 0 else "")

    def _memory(self) -> str:
        limit = self.settings.memory_mb << 20
        processes = descendants(self.init)
        used = sum(_resident(pid) for pid in processes) + _scratch_bytes(processes)
        if used <= limit:
            return ""
        # Pages that forks share were counted once for each; ask for exact shares before killing.
        exact = sum(_proportional(pid) for pid in processes) + _scratch_bytes(processes)
        return f"it used more than {self.settings.memory_mb:,} MB of memory" if exact > limit else ""

    def _disk(self) -> str:
        with contextlib.suppress(OSError):
            status = os.statvfs(self.workspace)
            if status.f_bavail * status.f_frsize < _RESERVE:
                return "the disk is almost full"
        return ""

    def _folder(self) -> str:
        limit = self.settings.workspace_mb << 20
        size = 0
        root = os.open(self.workspace, OPEN_FOLDER)
        try:
            for count, node in enumerate(walk(root)):
                size += node.status.st_blocks * 512
                if size > limit:
                    return f"the workspace grew beyond {self.settings.workspace_mb:,} MB"
                if count >= self.settings.workspace_files:
                    return f"the workspace grew beyond {plural(self.settings.workspace_files, 'file')}"
        finally:
            os.close(root)
        return ""


def enough_space(folder: Path) -> bool:
    """Whether a run can begin at all."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize >= 2 * _RESERVE


def descendants(pid: int) -> list[int]:
    """`pid` and all processes below it. Orphans stay below: the sandbox's first process adopts them."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def _resident(pid: int) -> int:
    fields = _kilobytes(f"/proc/{pid}/status", ("RssAnon", "RssShmem"))
    return sum(fields) * 1024


def _proportional(pid: int) -> int:
    """The process's own share of its pages; its whole resident memory where the kernel does not tell."""
    fields = _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem"))
    return sum(fields) * 1024 if fields else _resident(pid)


def _kilobytes(file: str, names: tuple[str, ...]) -> list[int]:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return []  # it has ended
    return [int(line.split()[1]) for line in lines if line.split(":", 1)[0] in names]


def _scratch_bytes(processes: list[int]) -> int:
    """Memory held by files in the sandbox's private tmpfs folders, seen through one of its processes."""
    for pid in reversed(processes):
        with contextlib.suppress(OSError):
            used = 0
            for name in _SCRATCH:
                status = os.statvfs(f"/proc/{pid}/root/{name}")
                files = status.f_files - status.f_ffree
                used += (status.f_blocks - status.f_bfree) * status.f_frsize
                used += files * 1024 if files > _MOST_SCRATCH_FILES else 0
            return used
    return 0
