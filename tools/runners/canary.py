"""Tries, from inside, what the sandbox must refuse. Prints a JSON object of findings; the host judges them."""

import ctypes
import json
import os
import resource
import socket
import stat
import sys
from collections.abc import Callable
from functools import partial

CLONE_NEWUSER = 0x10000000


def refused(attempt: Callable[[], object]) -> bool:
    """Whether an attempt failed as a refusal does."""
    try:
        attempt()
    except OSError:
        return True
    return False


def status(name: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


def first_process_tells() -> list[str]:
    """Variables of the sandbox's first process that can be read."""
    try:
        with open("/proc/1/environ", "rb") as file:
            return [entry.decode() for entry in file.read().split(b"\0") if entry]
    except OSError:
        return []


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def main() -> None:
    secret = sys.argv[1]
    with open("/proc/net/dev") as file:
        interfaces = [line.split(":")[0].strip() for line in file if ":" in line]
    os.mkdir("/workspace/made")
    findings = {
        "uid": os.getuid(),
        "capabilities": int(status("CapEff"), 16) | int(status("CapBnd"), 16),
        "no_new_privileges": status("NoNewPrivs") == "1",
        "seccomp": status("Seccomp") == "2",
        "environment": sorted(os.environ),
        "first_process_environment": first_process_tells(),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "interfaces": interfaces,
        "socket_refused": all(
            refused(partial(socket.socket, family, kind))
            for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        ),
        "pair_works": not refused(socket.socketpair),
        "secret_hidden": refused(lambda: open(secret).close()),
        "shadow_hidden": refused(lambda: open("/etc/shadow").close()),
        "writes_refused": all(
            refused(partial(write, f"{folder}/canary"))
            for folder in ("", "/usr", "/etc", "/opt", "/input", "/dev", "/proc/sys/kernel", os.path.dirname(secret))
        ),
        # Opened, not written: if it can be opened, whoever we are in here is root out there.
        "core_pattern_refused": refused(lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))),
        "workspace_works": not refused(lambda: write("/workspace/made/file")),
        "scratch_works": not refused(lambda: write("/tmp/file")),
        "user_namespace_refused": refused(unshare),
        # Only Landlock forbids this kind of file in a folder of our own.
        "landlock": refused(partial(os.mknod, "/tmp/socket", stat.S_IFSOCK | 0o600)),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
            for name in ("AS", "NPROC", "FSIZE", "NOFILE", "CORE")
        },
    }
    print(json.dumps(findings))


if __name__ == "__main__":
    main()
