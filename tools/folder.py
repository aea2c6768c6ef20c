"""A workspace folder, held open: every access stays beneath it, and nothing in it is followed elsewhere."""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import itertools
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from openhearth.config import PROJECT_FILE
from openhearth.errors import WorkspaceError
from openhearth.tools.openat import open_beneath
from openhearth.tools.tree import OPEN_FOLDER, is_generated, is_hidden, walk

SANDBOX_ROOT = "/workspace"
"""Where programs in the sandbox find the workspace; paths that begin with it mean the same file."""

_LONGEST_WALK = 200_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder, by its path relative to the workspace. `size` is in bytes."""

    path: str
    is_folder: bool
    size: int


def split_path(path: str, root: Path) -> tuple[str, ...]:
    """The components of `path` beneath the workspace. Raises WorkspaceError for a path outside it, or in `.git`."""
    if "\0" in path:
        raise WorkspaceError("A path cannot hold a NUL byte.")
    for prefix in (SANDBOX_ROOT, str(root)):
        if path == prefix or path.startswith(prefix + "/"):
            path = path[len(prefix) :].lstrip("/") or "."
            break
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part == "/" or (part == ".." and not parts):
            raise WorkspaceError(
                f"{path} is outside the workspace.", hint="Give a path relative to the workspace, such as data/a.csv."
            )
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    if any(is_hidden(part) for part in parts):
        raise WorkspaceError(f"{path}: .git may not be touched.", hint="Work on the files themselves.")
    return tuple(parts)


def check_writable(parts: Sequence[str]) -> None:
    """Raises WorkspaceError for files that an agent may read but not write: they would change its own limits."""
    if parts and parts[-1].casefold() == PROJECT_FILE:
        raise WorkspaceError(f"{PROJECT_FILE} may not be changed: it sets the agent's limits.")


class Folder:
    """An open workspace; a context manager. Every path is relative to it, and every error a WorkspaceError."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        try:
            self._fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise WorkspaceError(
                f"Cannot open the workspace {self.root}: {error.strerror}.", hint="Name a folder that exists."
            ) from error

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def relative(self, path: str) -> str:
        """`path` as it is written in results: relative to the workspace, `.` for the workspace itself."""
        return "/".join(split_path(path, self.root)) or "."

    def exists(self, path: str) -> bool:
        return self._kind(path) is not None

    def is_file(self, path: str) -> bool:
        kind = self._kind(path)
        return kind is not None and stat.S_ISREG(kind)

    def _kind(self, path: str) -> int | None:
        parts = split_path(path, self.root)
        try:
            fd = open_beneath(
                self._fd, parts, os.O_PATH if hasattr(os, "O_PATH") else os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(path, error) from error
        try:
            return os.fstat(fd).st_mode
        finally:
            os.close(fd)

    def open(self, path: str) -> int:
        """A descriptor for reading a regular file; a FIFO or device is refused without blocking on it."""
        parts = split_path(path, self.root)
        with self._explained(path):
            fd = open_beneath(self._fd, parts, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(fd)
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise WorkspaceError(f"{path} is {what}.", hint="list_files shows the files.")
        return fd

    def read(self, path: str, limit: int) -> bytes:
        """The whole file. Raises WorkspaceError when it has more than `limit` bytes."""
        with os.fdopen(self.open(path), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise WorkspaceError(
                f"{path} is larger than {limit // 1_000_000} MB.", hint="Work on it with python or sql instead."
            )
        return content

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place atomically, with its folders; mode and owner of the one it replaces are kept."""
        parts = split_path(path, self.root)
        if not parts:
            raise WorkspaceError(f"{path} is a folder.")
        check_writable(parts)
        with self._explained(path), self.parent_of(parts) as parent:
            replaced = lstat(parts[-1], parent)
            if replaced is not None and not stat.S_ISREG(replaced.st_mode):
                raise WorkspaceError(f"{path} is not a regular file and is not replaced.")
            mode = replaced.st_mode & 0o777 if replaced else 0o644
            with replacement(parent, parts[-1], mode) as file:
                file.write(content)

    def entries(self, path: str = ".") -> Iterator[Entry]:
        """All files and folders beneath `path`; links, special files, `.git` and what lies in generated folders
        (`tree.is_generated`) are left out."""
        parts = split_path(path, self.root)
        with self._explained(path):
            start = open_beneath(self._fd, parts, OPEN_FOLDER)
        os.close(start)
        for node in itertools.islice(walk(self._fd, parts, is_generated), _LONGEST_WALK):
            if node.is_folder or node.is_file:
                yield Entry(node.path, node.is_folder, node.status.st_size)

    def open_folder(self, parts: Sequence[str]) -> int:
        """A descriptor of a folder that is there. Raises OSError."""
        return open_beneath(self._fd, parts, OPEN_FOLDER)

    @contextlib.contextmanager
    def parent_of(self, parts: Sequence[str]) -> Iterator[int]:
        """The open folder that holds `parts`, made with its parents where it is missing. Raises OSError."""
        current = open_beneath(self._fd, (), OPEN_FOLDER)
        try:
            for part in parts[:-1]:
                make_folder(current, part)
                inner = open_beneath(current, (part,), OPEN_FOLDER)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(path, error) from error

    def _error(self, path: str, error: OSError) -> WorkspaceError:
        if error.errno == errno.ENOENT:
            return WorkspaceError(f"There is no {path}.", hint=self._nearest(path))
        if error.errno in (errno.ELOOP, errno.EXDEV):
            return WorkspaceError(f"{path} goes through a symbolic link, which is not followed.")
        if error.errno == errno.ENOTDIR:
            return WorkspaceError(f"{path}: a part of this path is a file or a link, not a folder.")
        return WorkspaceError(f"{path}: {error.strerror}.")

    def _nearest(self, path: str) -> str:
        known = [entry.path for entry, _ in zip(self.entries(), range(2_000), strict=False) if not entry.is_folder]
        same_name = [one for one in known if PurePosixPath(one).name == PurePosixPath(path).name]
        near = same_name[:3] or difflib.get_close_matches(path, known, n=3, cutoff=0.5)
        if near:
            return f"Did you mean {' or '.join(near)}?"
        return f"The files are: {', '.join(known[:20])}." if known else "The workspace is empty."


def make_folder(parent: int, name: str) -> None:
    """Make `name` in the open directory `parent`, unless it is there; it gets its parent's owner."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
        _give(parent, functools.partial(os.chown, name, dir_fd=parent, follow_symlinks=False))


@contextlib.contextmanager
def replacement(parent: int, name: str, mode: int) -> Iterator[BinaryIO]:
    """A file to write in the open directory `parent`, which takes the place of `name` when the block ends well.

    `name` itself is never opened: the new file is renamed over it, and gets its folder's owner. Of `mode` only the
    permission bits count.
    """
    temporary = f".hearth-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            _give(parent, functools.partial(os.fchown, file.fileno()))
            os.fchmod(file.fileno(), mode & 0o777)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise


def _give(parent: int, change_owner: Callable[[int, int], None]) -> None:
    """Give something made in `parent` its owner: root working in a user's folder must not leave files of its own."""
    owner = os.fstat(parent)
    if owner.st_uid != os.geteuid():
        with contextlib.suppress(PermissionError):
            change_owner(owner.st_uid, owner.st_gid)


def lstat(name: str, parent: int) -> os.stat_result | None:
    """What `name` in the open directory `parent` is, links not followed; None when there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
