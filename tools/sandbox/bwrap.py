"""The command line of bwrap: what the sandbox sees, and nothing else.

Two rules hold here. Nothing is mounted beneath a folder that the program can write, or a link planted in it would
turn the mount into a write outside. And bwrap itself is started with an empty environment and its arguments in a
file, because both can be read in there, at /proc/1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openhearth.config import SandboxSettings
from openhearth.tools.folder import SANDBOX_ROOT
from openhearth.tools.sandbox.staging import NOBODY, PACKAGES, PYTHON, Interpreter, Mount

INPUT = "/input"
HOME = "/home/agent"
_BIN = "/opt/bin"

_SCRATCH_MB = 64
_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Not the host's whole /etc: what the loader, the clock and Debian's `awk` or `vi` links need.
_FROM_ETC = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")


@dataclass(frozen=True, slots=True)
class Layout:
    """Host paths of one run. `runtime` holds launch.py, passwd and group."""

    workspace: Path
    inputs: Path
    runtime: Path
    read_only: bool


def arguments(layout: Layout, interpreter: Interpreter, settings: SandboxSettings) -> list[str]:
    """bwrap's options, without the command."""
    options = [*_NAMESPACES, "--unshare-cgroup-try", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    options += ["--hostname", "sandbox", "--as-pid-1", "--new-session"]
    options += _system()
    for name in ("passwd", "group"):
        options += ["--ro-bind", str(layout.runtime / name), f"/etc/{name}"]
    options += ["--ro-bind", str(layout.runtime / "launch.py"), "/opt/launch.py"]
    for mount in (*interpreter.mounts, Mount(layout.inputs, INPUT)):
        options += ["--ro-bind", str(mount.source), mount.target]
    for name in ("python", "python3"):
        options += ["--symlink", interpreter.executable, f"{_BIN}/{name}"]
    options += ["--proc", "/proc", "--dev", "/dev"]
    options += _tmpfs("/dev/shm", _SCRATCH_MB) + _tmpfs("/tmp", settings.file_mb) + _tmpfs(HOME, _SCRATCH_MB)  # noqa: S108
    options += ["--ro-bind" if layout.read_only else "--bind", str(layout.workspace), SANDBOX_ROOT]
    options += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SANDBOX_ROOT]
    for name, value in environment(interpreter).items():
        options += ["--setenv", name, value]
    return options


def command(
    argv: Sequence[str],
    interpreter: Interpreter,
    settings: SandboxSettings,
    host: int,
    *,
    read_only: bool,
    timeout_s: float,
) -> list[str]:
    """What bwrap starts: the launcher, which sets the limits and becomes `argv`.

    `host` is a descriptor that hangs up when the host program is dead.
    """
    limits = ",".join(f"{name}={value}" for name, value in rlimits(settings, timeout_s).items())
    writable = ["/tmp", HOME, "/dev/shm"] + ([] if read_only else [SANDBOX_ROOT])  # noqa: S108
    launcher = [interpreter.executable, "-I", "-S", "-B", "/opt/launch.py"]
    return [*launcher, str(host), limits, ":".join(writable), *argv]


def rlimits(settings: SandboxSettings, timeout_s: float) -> Mapping[str, int]:
    """Limits of each process, by the name of `resource.RLIMIT_*`."""
    return {
        "AS": settings.memory_mb << 20,
        "NPROC": settings.processes,
        "FSIZE": settings.file_mb << 20,
        "NOFILE": 512,
        "CPU": int(timeout_s) * 4 + 1,  # wall-clock time ends a run; this ends a thread pool that escaped the watch
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }


def environment(interpreter: Interpreter) -> Mapping[str, str]:
    """All variables that a program sees."""
    variables = {
        "PATH": f"{_BIN}:{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": HOME,
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "PYTHONPATH": PACKAGES,
        "PYTHONDONTWRITEBYTECODE": "1",
        # Each thread counts as a process and takes address space; numerical libraries start one per core.
        "OMP_NUM_THREADS": "4",
        "OPENBLAS_NUM_THREADS": "4",
    }
    return variables | ({"LD_LIBRARY_PATH": interpreter.library_path} if interpreter.library_path else {})


def _system() -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_FOLDERS:
        folder = Path(name)
        if folder.is_symlink():
            options += ["--symlink", str(folder.readlink()), name]
        elif folder.is_dir():
            options += ["--ro-bind", name, name]
    for name in _FROM_ETC:
        options += ["--ro-bind-try", name, name]
    return options


def _tmpfs(target: str, size_mb: int) -> list[str]:
    return ["--perms", "0700", "--size", str(size_mb << 20), "--tmpfs", target]
