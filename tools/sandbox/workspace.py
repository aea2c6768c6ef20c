"""The copy of a workspace that a program may change, and taking over what it changed.

The copy leaves out `.git`, special files and what lies in generated folders (`tree.is_generated`); links are copied
as links and never followed. Afterwards, with the program and all it started dead, regular files and folders that
differ are applied to the real workspace, one atomic rename each, without suid and sgid bits. What changed on the host
in the meantime is a conflict and stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxError, WorkspaceError
from openhearth.tools.openat import open_beneath
from openhearth.tools.text import plural
from openhearth.tools.tree import OPEN_FOLDER, Node, is_generated, walk

READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does. A program without privileges cannot set `changed_ns`."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file as it was on the host, and as it was put into the copy."""

    original: Stamp
    original_mode: int
    copy: Stamp
    copy_mode: int


class WorkspaceCopy:
    """A copy of the folder `source` in the new folder `target`, owned by `owner` (None: by us)."""

    def __init__(self, source: Path, target: Path, settings: SandboxSettings, owner: int | None = None) -> None:
        self.source = source
        self.target = target
        self.settings = settings
        self.owner = owner
        self.files: dict[tuple[str, ...], CopiedFile] = {}
        self.folders: set[tuple[str, ...]] = set()
        self.links: dict[tuple[str, ...], str] = {}
        self.closed: set[tuple[str, ...]] = set()
        """Generated folders, which are empty in the copy."""
        self.notes: list[str] = []
        self._count = 0
        self._size = 0

    def copy(self) -> None:
        """Fill `target`. Raises WorkspaceError when the workspace is larger than the settings allow."""
        self.target.mkdir(mode=0o700)
        source, target = (os.open(folder, OPEN_FOLDER | os.O_CLOEXEC) for folder in (self.source, self.target))
        try:
            self._give(lambda uid: os.fchown(target, uid, uid))
            # The walk yields what a folder holds in one go, so each folder is opened once.
            for parent, nodes in itertools.groupby(walk(source, (), self._close), key=lambda node: node.parts[:-1]):
                with _opened(source, target, parent) as folders:
                    if folders is not None:
                        for node in nodes:
                            self._copy_node(*folders, node)
        finally:
            os.close(source)
            os.close(target)

    def _close(self, parts: tuple[str, ...], names: Collection[str]) -> bool:
        if is_generated(parts, names):
            self.closed.add(parts)
        return parts in self.closed

    def _copy_node(self, source: int, target: int, node: Node) -> None:
        """Copy one thing from the open folder `source` to its counterpart `target`."""
        self._count += 1
        if self._count > self.settings.workspace_files:
            raise self._too_large(plural(self.settings.workspace_files, "file"), "workspace_files")
        name = node.parts[-1]
        if node.is_file:
            self._copy_file(source, target, node)
            return
        if node.is_folder:
            os.mkdir(name, 0o700 | (node.status.st_mode & 0o777), dir_fd=target)
            self.folders.add(node.parts)
        elif node.is_link:
            try:
                goal = os.readlink(name, dir_fd=source)
            except OSError:
                return  # replaced between listing and reading
            os.symlink(goal, name, dir_fd=target)
            self.links[node.parts] = goal
        else:
            return
        self._give(lambda uid: os.chown(name, uid, uid, dir_fd=target, follow_symlinks=False))

    def _copy_file(self, source: int, target: int, node: Node) -> None:
        try:
            reading = os.open(node.parts[-1], READ_FILE | os.O_CLOEXEC, dir_fd=source)
        except OSError as error:
            self.notes.append(f"{node.path} was left out: {error.strerror}")
            return
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode):
                return  # replaced between listing and opening
            self._size += status.st_size
            if self._size > self.settings.workspace_mb << 20:
                raise self._too_large(f"{self.settings.workspace_mb:,} MB", "workspace_mb")
            writing = os.open(node.parts[-1], _NEW_FILE, 0o600, dir_fd=target)
            try:
                copy_content(reading, writing, status.st_size)
                mode = 0o600 | (status.st_mode & 0o777)
                self._give(lambda uid: os.fchown(writing, uid, uid))
                os.fchmod(writing, mode)
                os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
                copied = Stamp.of(os.fstat(writing))
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        self.files[node.parts] = CopiedFile(Stamp.of(status), status.st_mode & 0o777, copied, mode)

    def _give(self, change_owner: Callable[[int], None]) -> None:
        if self.owner is None:
            return
        try:
            change_owner(self.owner)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            # A container whose root has no such user, or may not act for it.
            raise SandboxError(
                f"This root user cannot hand files to user {self.owner}, as which code is run.",
                hint=f"Map user {self.owner} into the container, or run as an ordinary user.",
            ) from error

    def _too_large(self, limit: str, setting: str) -> WorkspaceError:
        return WorkspaceError(
            f"The workspace {self.source} has more than {limit}, too much to copy for each call.",
            hint=f"Choose a smaller folder, or raise sandbox.{setting}.",
        )


@contextlib.contextmanager
def _opened(source: int, target: int, parent: tuple[str, ...]) -> Iterator[tuple[int, int] | None]:
    """The folder `parent` in both trees, open; None when it has gone from the source meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            reading = open_beneath(source, parent, OPEN_FOLDER)
        except OSError:
            yield None
            return
        stack.callback(os.close, reading)
        writing = open_beneath(target, parent, OPEN_FOLDER)
        stack.callback(os.close, writing)
        yield reading, writing


def copy_content(reading: int, writing: int, size: int) -> None:
    """Copy `size` bytes, or less at the end of the file; on file systems that can, without copying."""
    left = size
    try:
        while left > 0 and (done := os.copy_file_range(reading, writing, left)):
            left -= done
    except OSError:
        # Across file systems, or an old kernel; continue from where both descriptors stand.
        while left > 0 and (done := os.sendfile(writing, reading, None, left)):
            left -= done
