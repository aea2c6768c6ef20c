"""How much memory a device has, how much of it is free, and in which pages it comes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""The limits that a container sets, in the second and the first version of control groups."""

_UNKNOWN = 8 << 30


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes. `free` is what may be allocated now without anything being pushed out."""

    free: int
    total: int


def memory_of(device: torch.device) -> Memory:
    """The memory of `device`; for the CPU, that of this machine or of the container around this process.

    An accelerator that does not tell shares the machine's memory, as Apple's do, or so it is taken.
    """
    if device.type == "cpu":
        return _system()
    if device.type == "mps":
        most = torch.mps.recommended_max_memory()
        return Memory(max(most - torch.mps.driver_allocated_memory(), 0), most)
    try:
        return Memory(*torch.accelerator.get_memory_info(device))
    except (AttributeError, RuntimeError, NotImplementedError):  # what torch raises where a backend cannot tell
        return _system()


def huge_pages() -> str | None:
    """Whether a program may have pages of 2 MiB here: `always`, `madvise` (when it asks) or `never`; None if unknown.

    Two cores of a Zen 4 read 48 GB/s from such pages, and 25 GB/s from those of 4 KiB.
    """
    try:
        modes = _HUGE_PAGES.read_text().split()
    except OSError:
        return None
    return next((mode.strip("[]") for mode in modes if mode.startswith("[")), None)


def _system() -> Memory:
    whole = _meminfo() or _sysconf()
    for limit_file, usage_file in _CGROUPS:
        try:
            limit, usage = int(limit_file.read_text()), int(usage_file.read_text())
        except (OSError, ValueError):  # no such group, or no limit ("max")
            continue
        if limit < whole.total:
            whole = Memory(min(whole.free, max(limit - usage, 0)), limit)
    return whole


def _meminfo() -> Memory | None:
    """What Linux says; `MemAvailable` counts the pages that it could drop."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        sizes = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
        return Memory(sizes["MemAvailable"], sizes["MemTotal"])
    except (OSError, ValueError, IndexError, KeyError):
        return None


def _sysconf() -> Memory:
    """What POSIX systems say; half of it is taken as free."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        total = _UNKNOWN
    return Memory(total // 2, total)
