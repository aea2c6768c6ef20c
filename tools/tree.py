"""Walking a folder that somebody else may be changing: by descriptor, never through a link, never without end."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from openhearth.tools.openat import open_beneath

DEEPEST = 64
"""Folders within folders; what lies deeper is left alone."""

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class Node:
    """Something in a folder, by the components of its path beneath the walk's root."""

    parts: tuple[str, ...]
    status: os.stat_result

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is kept from agents: `.git`, in whatever case a file system ignores."""
    return name.casefold() == ".git"


def is_generated(parts: tuple[str, ...], names: Collection[str]) -> bool:
    """Whether the folder `parts`, which holds `names`, is large and can be made again: a virtual environment,
    installed packages, or a cache that says so (https://bford.info/cachedir/)."""
    return parts[-1] == "node_modules" or "pyvenv.cfg" in names or "CACHEDIR.TAG" in names


def walk(
    root: int,
    start: tuple[str, ...] = (),
    closed: Callable[[tuple[str, ...], Collection[str]], bool] = lambda parts, names: False,
) -> Iterator[Node]:
    """Everything beneath `start` in the open folder `root`, `.git` left out; a folder comes before what it holds.

    Nothing comes of a folder for which `closed` is true of its parts and what it holds; `start` is always open.
    What cannot be opened, or is gone meanwhile, is passed over. A folder is opened only after it was yielded.
    """
    waiting = [start]
    while waiting:
        parent = waiting.pop()
        try:
            fd = open_beneath(root, parent, OPEN_FOLDER)
        except OSError:
            continue
        try:
            names = sorted(os.listdir(fd))  # noqa: PTH208 - by descriptor
            nodes = [] if parent != start and closed(parent, names) else list(_nodes(fd, parent, names))
        finally:
            os.close(fd)
        yield from nodes
        waiting += [node.parts for node in reversed(nodes) if node.is_folder and len(node.parts) < DEEPEST]


def _nodes(fd: int, parent: tuple[str, ...], names: Collection[str]) -> Iterator[Node]:
    for name in names:
        if not is_hidden(name):
            with contextlib.suppress(OSError):
                yield Node((*parent, name), os.stat(name, dir_fd=fd, follow_symlinks=False))
