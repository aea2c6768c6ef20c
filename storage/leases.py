"""Who executes a run: names for owners that can be recognised as dead.

A lease runs out, but nobody should wait for that after a crash. So an owner's name tells the machine, its boot, the
process and when that process started; on the same machine a process that is gone loses its leases at once.
"""

from __future__ import annotations

import os
import platform
import secrets
from functools import cache
from pathlib import Path

_SEPARATOR = "/"


def new_owner() -> str:
    """A name for one attachment of this process to one run."""
    pid = os.getpid()
    return _SEPARATOR.join((*_machine(), str(pid), _started(pid), secrets.token_hex(4)))


def is_gone(owner: str) -> bool:
    """Whether the owner's process certainly no longer runs. False when in doubt, as on another machine."""
    parts = owner.split(_SEPARATOR)
    if len(parts) != len(_machine()) + 3 or not parts[-3].isdecimal():
        return False
    host, boot, namespace = parts[:3]
    here = _machine()
    if host != here[0]:
        return False
    if boot != here[1]:
        return bool(boot and here[1])
    if namespace != here[2]:
        return False
    pid = int(parts[-3])
    started = _started(pid)
    if started != parts[-2]:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@cache
def _machine() -> tuple[str, str, str]:
    """Host, boot and process-id namespace; the latter two are empty where the system does not tell."""
    return (
        platform.node().replace(_SEPARATOR, "-"),
        _read(Path("/proc/sys/kernel/random/boot_id")),
        _link(Path("/proc/self/ns/pid")),
    )


def _started(pid: int) -> str:
    """The process's start in clock ticks after boot; empty when it is gone or the system does not tell."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    # The command's name, in parentheses, may hold anything; the start is the 20th field after it.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return ""
    return fields[19]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(file: Path) -> str:
    try:
        return file.readlink().name
    except OSError:
        return ""
