"""Applying what a program changed in its copy of the workspace to the real one."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from openhearth.errors import WorkspaceError
from openhearth.tools.diff import LARGEST_DIFFED, file_change, large_file_change
from openhearth.tools.folder import Folder, check_writable, lstat, replacement
from openhearth.tools.openat import open_beneath
from openhearth.tools.sandbox.workspace import READ_FILE, CopiedFile, Stamp, WorkspaceCopy, copy_content
from openhearth.tools.text import plural, strip_escapes
from openhearth.tools.tree import OPEN_FOLDER, Node, is_hidden, walk
from openhearth.types import FileChange

_MOST_DIFFED = 50
_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was applied, and what was not and why."""

    changes: tuple[FileChange, ...]
    notes: tuple[str, ...]


def take_over(copy: WorkspaceCopy) -> Outcome:
    """Apply the copy's changes. Nothing may be running in it any more."""
    with Folder(copy.source) as host:
        root = os.open(copy.target, OPEN_FOLDER)
        try:
            return _TakeOver(copy, host, root).apply()
        finally:
            os.close(root)


@dataclass(slots=True)
class _TakeOver:
    copy: WorkspaceCopy
    host: Folder
    root: int
    changes: list[FileChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def apply(self) -> Outcome:
        self.notes += self.copy.notes
        found = self._survey()
        if found is not None:
            self._delete_missing(found)
            for node in found.values():
                with self._noted(node.parts):
                    self._apply(node)
        if any(is_hidden(name) for name in os.listdir(self.root)):  # noqa: PTH208 - by descriptor
            self.notes.append(".git was not taken over")
        notes = self.notes
        if len(notes) > _MOST_NOTES:
            notes = [*notes[:_MOST_NOTES], f"and {plural(len(notes) - _MOST_NOTES, 'more note')}"]
        return Outcome(tuple(sorted(self.changes, key=lambda change: change.path)), tuple(notes))

    def _survey(self) -> dict[tuple[str, ...], Node] | None:
        """Everything in the copy now; None, with a note, when it is more than the settings allow."""
        settings = self.copy.settings
        found: dict[tuple[str, ...], Node] = {}
        size = 0
        for node in walk(self.root, (), self._is_closed):
            found[node.parts] = node
            size += node.status.st_size if node.is_file else 0
            if len(found) > settings.workspace_files or size > settings.workspace_mb << 20:
                limit = f"{settings.workspace_mb:,} MB or {plural(settings.workspace_files, 'file')}"
                self.notes.append(f"no change was applied: the workspace grew beyond {limit}")
                return None
            # The program may have shut us out of its own files; a folder is opened only after it was yielded.
            wanted = 0o700 if node.is_folder else 0o400 if node.is_file else 0
            if node.status.st_mode & wanted != wanted:
                self._open_up(node, wanted)
        return found

    def _is_closed(self, parts: tuple[str, ...], names: Collection[str]) -> bool:
        closed = parts in self.copy.closed
        if closed and names:
            self.notes.append(f"{_shown('/'.join(parts))} is a generated folder; nothing was taken over from it")
        return closed

    def _open_up(self, node: Node, mode: int) -> None:
        parent = open_beneath(self.root, node.parts[:-1], OPEN_FOLDER)
        try:
            os.chmod(node.parts[-1], mode, dir_fd=parent)
        finally:
            os.close(parent)

    def _delete_missing(self, found: dict[tuple[str, ...], Node]) -> None:
        # What a program replaced by a link or a device stays as it was, with a note.
        for parts, copied in self.copy.files.items():
            if parts not in found or found[parts].is_folder:
                with self._noted(parts):
                    self._delete(parts, copied)
        for parts in sorted(self.copy.folders, key=len, reverse=True):
            if parts not in found or found[parts].is_file:
                with self._noted(parts), self._host_parent(parts) as parent:
                    os.rmdir(parts[-1], dir_fd=parent)

    def _delete(self, parts: tuple[str, ...], copied: CopiedFile) -> None:
        check_writable(parts)
        with self._host_parent(parts) as parent:
            _check_unchanged(copied, lstat(parts[-1], parent))
            before = self._host_content(parts, copied.original.size)
            os.unlink(parts[-1], dir_fd=parent)
        self._record("/".join(parts), before, None, copied.original.size, 0)

    def _apply(self, node: Node) -> None:
        if node.is_folder:
            if node.parts not in self.copy.folders:
                _check_name(node)
                with self.host.parent_of((*node.parts, "")):
                    pass
        elif node.is_file:
            self._apply_file(node)
        elif not node.is_link:
            raise WorkspaceError("only regular files and folders are taken over")
        elif node.parts not in self.copy.links:
            raise WorkspaceError("links are not taken over")

    def _apply_file(self, node: Node) -> None:
        copied = self.copy.files.get(node.parts)
        mode = stat.S_IMODE(node.status.st_mode)
        if copied is not None and copied.copy == Stamp.of(node.status) and copied.copy_mode == mode:
            return
        with contextlib.ExitStack() as stack:
            reading = open_beneath(self.root, node.parts, READ_FILE)
            stack.callback(os.close, reading)
            same_mode = copied is not None and copied.copy_mode == mode
            if same_mode and self._same_content(node, reading):
                return
            _check_name(node)
            check_writable(node.parts)
            parent = stack.enter_context(self.host.parent_of(node.parts))
            _check_unchanged(copied, lstat(node.parts[-1], parent))
            size_before = copied.original.size if copied is not None else 0
            before = self._host_content(node.parts, size_before) if copied is not None else None
            size = node.status.st_size
            os.lseek(reading, 0, os.SEEK_SET)
            after = os.read(reading, LARGEST_DIFFED) if size <= LARGEST_DIFFED else b""
            os.lseek(reading, 0, os.SEEK_SET)
            kept_mode = copied.original_mode if copied is not None and same_mode else 0o600 | (mode & 0o777)
            with replacement(parent, node.parts[-1], kept_mode) as file:
                copy_content(reading, file.fileno(), size)
        self._record(node.path, before, after, size_before, size)

    def _same_content(self, node: Node, reading: int) -> bool:
        """Whether the file in the copy still holds what the host's file holds."""
        if self.copy.files[node.parts].original.size != node.status.st_size:
            return False
        with os.fdopen(self.host.open(node.path), "rb") as original:
            while chunk := os.read(reading, 1 << 20):
                if original.read(len(chunk)) != chunk:
                    return False
        return True

    def _host_content(self, parts: tuple[str, ...], size: int) -> bytes:
        return self.host.read("/".join(parts), LARGEST_DIFFED) if size <= LARGEST_DIFFED else b""

    @contextlib.contextmanager
    def _host_parent(self, parts: tuple[str, ...]) -> Iterator[int]:
        """The open folder on the host that holds `parts`; unlike `parent_of` it makes nothing."""
        parent = self.host.open_folder(parts[:-1])
        try:
            yield parent
        finally:
            os.close(parent)

    def _record(self, path: str, before: bytes | None, after: bytes | None, size_before: int, size_after: int) -> None:
        if max(size_before, size_after) > LARGEST_DIFFED:
            change = large_file_change(path, before is not None, after is not None, size_before, size_after)
        else:
            change = file_change(path, before, after)
        if len(self.changes) >= _MOST_DIFFED:
            change = change.model_copy(update={"diff": ""})
        self.changes.append(change)

    @contextlib.contextmanager
    def _noted(self, parts: tuple[str, ...]) -> Iterator[None]:
        """One file that cannot be applied does not keep the others from it."""
        try:
            yield
        except (WorkspaceError, OSError) as error:
            reason = error.message if isinstance(error, WorkspaceError) else error.strerror
            self.notes.append(f"{_shown('/'.join(parts))} was not applied: {reason}")


def _check_unchanged(copied: CopiedFile | None, now: os.stat_result | None) -> None:
    """Raises WorkspaceError when the host's file is not the one that was copied."""
    if copied is None:
        if now is not None:
            raise WorkspaceError("something of this name is in the workspace already")
    elif now is None:
        raise WorkspaceError("it was deleted in the workspace meanwhile")
    elif not stat.S_ISREG(now.st_mode) or Stamp.of(now) != copied.original:
        raise WorkspaceError("it was changed in the workspace meanwhile")


def _check_name(node: Node) -> None:
    if _shown(node.path) != node.path:
        raise WorkspaceError("its name holds characters that are not text")


def _shown(path: str) -> str:
    return strip_escapes(path.encode("utf-8", "replace").decode()).replace("\n", "?")
