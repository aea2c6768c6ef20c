"""File access stays beneath the workspace, whatever is planted there, with openat2 and without it."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from openhearth.errors import WorkspaceError
from openhearth.tools.folder import Folder, split_path
from openhearth.tools.openat import open_beneath, open_by_component
from openhearth.tools.tree import DEEPEST, walk

Opener = Callable[[int, Sequence[str], int], int]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "data").mkdir(parents=True)
    (root / "data" / "a.txt").write_text("inside\n")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret\n")
    (tmp_path / "outside.txt").write_text("outside\n")
    (root / "file_link").symlink_to(tmp_path / "outside.txt")
    (root / "folder_link").symlink_to(tmp_path)
    (root / "inner_link").symlink_to("data")
    (root / "magic").symlink_to("/proc/self/root")
    return root


@pytest.fixture(params=[open_beneath, open_by_component])
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    return chosen


def read(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


@pytest.fixture
def root_fd(workspace: Path) -> Iterator[int]:
    fd = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_opens_what_is_beneath(root_fd: int, opener: Opener) -> None:
    assert read(opener(root_fd, ("data", "a.txt"), os.O_RDONLY)) == b"inside\n"


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        (("file_link",), {errno.ELOOP}),
        (("folder_link", "outside.txt"), {errno.ELOOP}),
        (("inner_link", "a.txt"), {errno.ELOOP}),
        (("magic", "etc", "passwd"), {errno.ELOOP}),
        (("..", "outside.txt"), {errno.EXDEV}),
        (("data", "..", "..", "outside.txt"), {errno.EXDEV}),
        (("data", "missing"), {errno.ENOENT}),
        (("data", "a.txt", "b"), {errno.ENOTDIR}),
    ],
)
def test_refuses_what_leads_elsewhere(root_fd: int, opener: Opener, parts: tuple[str, ...], codes: set[int]) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the code is checked below
        opener(root_fd, parts, os.O_RDONLY)
    assert caught.value.errno in codes


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.txt", ("a.txt",)),
        ("./data//a.txt", ("data", "a.txt")),
        ("data/../b", ("b",)),
        ("/workspace/data/a.txt", ("data", "a.txt")),
        ("/workspace", ()),
        (".", ()),
        ("/srv/project/a.txt", ("a.txt",)),
        ("dotgit/.gitignore", ("dotgit", ".gitignore")),
    ],
)
def test_paths_are_split(path: str, parts: tuple[str, ...]) -> None:
    assert split_path(path, Path("/srv/project")) == parts


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../../b",
        "/etc/passwd",
        "/workspace2/a",
        "/workspace/../etc",
        "/srv",
        "a\0b",
        ".git/config",
        ".GIT",
        "a/.git",
    ],
)
def test_paths_outside_are_refused(path: str) -> None:
    with pytest.raises(WorkspaceError):
        split_path(path, Path("/srv/project"))


def test_write_replaces_atomically_and_keeps_the_mode(workspace: Path) -> None:
    file = workspace / "data" / "a.txt"
    file.chmod(0o4751)
    old = os.open(file, os.O_RDONLY)
    with Folder(workspace) as folder:
        folder.write("data/a.txt", b"new\n")
    assert read(old) == b"inside\n"
    assert file.read_bytes() == b"new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o751
    assert list(file.parent.iterdir()) == [file]


def test_write_makes_folders(workspace: Path) -> None:
    with Folder(workspace) as folder:
        folder.write("new/deep/b.txt", b"x")
    assert (workspace / "new/deep/b.txt").read_bytes() == b"x"


@pytest.mark.parametrize("path", ["file_link", "folder_link/new.txt", "data", "hearth.toml", "data/HEARTH.toml", "."])
def test_write_refuses(workspace: Path, tmp_path: Path, path: str) -> None:
    with Folder(workspace) as folder, pytest.raises(WorkspaceError):
        folder.write(path, b"x")
    assert (tmp_path / "outside.txt").read_text() == "outside\n"
    assert not (tmp_path / "new.txt").exists()


def test_write_breaks_a_hard_link_instead_of_writing_through(workspace: Path, tmp_path: Path) -> None:
    os.link(tmp_path / "outside.txt", workspace / "hard.txt")
    with Folder(workspace) as folder:
        folder.write("hard.txt", b"changed\n")
    assert (tmp_path / "outside.txt").read_text() == "outside\n"


def test_failed_write_leaves_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    with Folder(workspace) as folder, pytest.raises(WorkspaceError, match="No space left"):
        folder.write("data/a.txt", b"new\n")
    assert [file.name for file in (workspace / "data").iterdir()] == ["a.txt"]
    assert (workspace / "data/a.txt").read_text() == "inside\n"


def test_special_files_are_refused_without_blocking(workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    with socket.socket(socket.AF_UNIX) as server, Folder(workspace) as folder:
        cwd = Path.cwd()
        os.chdir(workspace)  # the path of a unix socket is short
        try:
            server.bind("socket")
        finally:
            os.chdir(cwd)
        for name in ("fifo", "socket", "data"):
            with pytest.raises(WorkspaceError):
                folder.open(name)


def test_too_large_a_file_is_refused(workspace: Path) -> None:
    with Folder(workspace) as folder, pytest.raises(WorkspaceError, match="larger than"):
        folder.read("data/a.txt", 6)


def test_missing_file_names_similar_ones(workspace: Path) -> None:
    with Folder(workspace) as folder:
        with pytest.raises(WorkspaceError) as caught:
            folder.open("a.txt")
        assert caught.value.hint == "Did you mean data/a.txt?"
        with pytest.raises(WorkspaceError) as caught:
            folder.open("zzzzzzzzzzz")
        assert caught.value.hint == "The files are: data/a.txt."


def test_missing_workspace_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="Cannot open the workspace"):
        Folder(tmp_path / "nowhere")


def test_entries_leave_out_links_and_git(workspace: Path) -> None:
    with Folder(workspace) as folder:
        assert [(entry.path, entry.is_folder, entry.size) for entry in folder.entries()] == [
            ("data", True, (workspace / "data").stat().st_size),
            ("data/a.txt", False, 7),
        ]


def test_entries_pass_over_what_is_generated_unless_asked_for(workspace: Path) -> None:
    (workspace / "env").mkdir()
    (workspace / "env" / "pyvenv.cfg").write_text("")
    with Folder(workspace) as folder:
        assert [entry.path for entry in folder.entries()] == ["data", "env", "data/a.txt"]
        assert [entry.path for entry in folder.entries("env")] == ["env/pyvenv.cfg"]


def test_walk_stops_at_a_depth(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (DEEPEST + 5))
    deep.mkdir(parents=True)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert max(len(node.parts) for node in walk(fd)) == DEEPEST
    finally:
        os.close(fd)
