"""What the sandbox needs from the host, where the sandbox's user can read it.

Started by root, the sandbox's programs run as uid 65534, and the interpreter often lies under root's closed home. What
cannot be read is copied once into a cache that root alone can write, under a name that changes with the interpreter.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openhearth import paths
from openhearth.errors import SandboxUnavailableError

NOBODY = 65534
"""The user that root becomes before anything else happens."""

PYTHON = "/opt/python"
PACKAGES = "/opt/packages"

_OFFERED = ("duckdb", "numpy", "pandas", "python-dateutil", "pytz", "six", "tzdata")
_NOT_OFFERED = {"..", "__pycache__", "adbc_driver_duckdb"}
_ROOT_CACHE = Path("/var/cache/openhearth")
_NOT_NEEDED = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "config-*")


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path and where the sandbox sees it, read-only."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python for the sandbox: its path in there, what must be mounted, and the packages it can import."""

    executable: str
    mounts: tuple[Mount, ...]
    library_path: str
    packages: tuple[str, ...]


def sandbox_user() -> int | None:
    """The uid to become before bwrap, or None for an ordinary user, who stays who they are."""
    return NOBODY if os.geteuid() == 0 else None


def find_interpreter() -> Interpreter:
    """The interpreter below the running one's virtual environment, made readable."""
    executable, library_path, mounts = _python()
    packages, package_mounts = _packages()
    return Interpreter(executable, (*mounts, *package_mounts), library_path, packages)


def reachable(path: Path) -> bool:
    """Whether the sandbox's user can read `path`, a file or folder."""
    if sandbox_user() is None:
        return os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))
    try:
        if any(not parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents):
            return False
        mode = path.stat().st_mode
    except OSError:
        return False
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted


def stage(label: str, key: str, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` has filled, made once for each `key`; safe against other processes doing the same."""
    folder = _cache() / f"{label}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    building = Path(tempfile.mkdtemp(prefix=f".{label}-", dir=folder.parent))
    try:
        fill(building)
        building.chmod(0o755)
        # Another process may have been faster; its folder holds the same.
        with contextlib.suppress(FileExistsError, OSError):
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    if not folder.is_dir():
        raise SandboxUnavailableError(f"Cannot write {folder}.", hint="Make space there, or set TMPDIR.")
    return folder


def make_readable(folder: Path) -> None:
    """Let everybody read what lies in `folder`, and start what its owner can start."""
    for parent, _, names in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in names:
            file = Path(parent, name)
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _python() -> tuple[str, str, tuple[Mount, ...]]:
    prefix = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = prefix / "bin" / version
    if not binary.is_file():
        raise SandboxUnavailableError(
            f"No {version} in {binary.parent}.", hint="Install OpenHearth with a Python that has its own bin folder."
        )
    if prefix.is_relative_to("/usr"):
        return str(binary), "", ()  # the sandbox sees /usr
    library = prefix / "lib"
    if not (reachable(binary) and reachable(library / version / "os.py")):
        stamps = [file.stat() for file in (binary, library / version / "os.py")]
        key = f"{prefix} {sys.version} {[(s.st_size, s.st_mtime_ns) for s in stamps]}"
        staged = stage("python", key, lambda folder: _copy_python(prefix, version, folder))
        binary, library = staged / "bin" / version, staged / "lib"
    mounts = (Mount(binary, f"{PYTHON}/bin/{version}"), Mount(library, f"{PYTHON}/lib"))
    shared = any(library.glob("libpython*.so*"))
    return f"{PYTHON}/bin/{version}", f"{PYTHON}/lib" if shared else "", mounts


def _copy_python(prefix: Path, version: str, target: Path) -> None:
    (target / "bin").mkdir()
    shutil.copy2((prefix / "bin" / version).resolve(), target / "bin" / version)
    unneeded = shutil.ignore_patterns(*_NOT_NEEDED)
    shutil.copytree(prefix / "lib" / version, target / "lib" / version, symlinks=True, ignore=unneeded)
    for shared in (prefix / "lib").glob("*.so*"):
        shutil.copy2(shared, target / "lib" / shared.name, follow_symlinks=False)
    make_readable(target)


def _packages() -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    names: list[str] = []
    mounts: list[Mount] = []
    for name in _OFFERED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            distribution = importlib.metadata.distribution(name)
            sources = sorted(_top_level(distribution))
            if not all(reachable(source) for source in sources):
                key = f"{name} {distribution.version} {sources[0].stat().st_mtime_ns}"
                staged = stage(name, key, lambda folder, sources=sources: _copy_all(sources, folder))  # type: ignore[misc]
                sources = sorted(staged.iterdir())
            mounts += [Mount(source, f"{PACKAGES}/{source.name}") for source in sources]
            names.append(name)
    return tuple(names), tuple(mounts)


def _top_level(distribution: importlib.metadata.Distribution) -> set[Path]:
    """The files and folders of a distribution that lie directly in site-packages."""
    tops = {file.parts[0] for file in distribution.files or () if not file.parts[0].endswith("-stubs")}
    return {Path(str(distribution.locate_file(top))) for top in tops - _NOT_OFFERED}


def _copy_all(sources: list[Path], target: Path) -> None:
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, target / source.name, symlinks=True, ignore=shutil.ignore_patterns("tests"))
        else:
            shutil.copy2(source, target / source.name)
    make_readable(target)


def _cache() -> Path:
    """A folder that only we can write and that the sandbox's user can reach."""
    for folder in _candidates():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            status = folder.lstat()
        except OSError:
            continue
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if ours and reachable(folder) and os.access(folder, os.W_OK):
            return folder
    raise SandboxUnavailableError(
        "There is no folder in which the sandbox's Python could be placed.", hint=f"Make {_ROOT_CACHE} writable."
    )


def _candidates() -> Iterator[Path]:
    yield paths.cache_dir() / "sandbox"
    yield _ROOT_CACHE
