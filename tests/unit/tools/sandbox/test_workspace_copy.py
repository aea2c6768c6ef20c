"""Copying a workspace, and taking over what a program did to the copy. The program's part is played by plain code."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from openhearth.config import SandboxSettings
from openhearth.errors import WorkspaceError
from openhearth.tools.sandbox.takeover import Outcome, take_over
from openhearth.tools.sandbox.workspace import WorkspaceCopy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "data" / "empty").mkdir(parents=True)
    (root / "data" / "a.txt").write_text("one\n")
    (root / "run.sh").write_text("echo\n")
    (root / "run.sh").chmod(0o755)
    (root / "locked.txt").write_text("locked\n")
    (root / "locked.txt").chmod(0o444)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / "hearth.toml").write_text("[sandbox]\n")
    (root / "link").symlink_to("data/a.txt")
    os.mkfifo(root / "fifo")
    return root


def copied(source: Path, tmp_path: Path, **settings: int) -> WorkspaceCopy:
    copy = WorkspaceCopy(source, tmp_path / "copy", SandboxSettings(**settings))
    copy.copy()
    return copy


def kinds(outcome: Outcome) -> dict[str, str]:
    return {change.path: change.kind for change in outcome.changes}


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def test_copies_content_modes_and_times_but_not_git_or_fifos(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    found = {str(path.relative_to(copy.target)) for path in copy.target.rglob("*")}
    assert found == {"data", "data/empty", "data/a.txt", "run.sh", "locked.txt", "hearth.toml", "link"}
    assert (copy.target / "data/a.txt").read_text() == "one\n"
    assert (copy.target / "run.sh").stat().st_mode & 0o111
    assert (copy.target / "run.sh").stat().st_mtime_ns == (source / "run.sh").stat().st_mtime_ns
    assert (copy.target / "link").readlink() == Path("data/a.txt")


def test_an_untouched_copy_changes_nothing(source: Path, tmp_path: Path) -> None:
    before = snapshot(source)
    copy = copied(source, tmp_path)
    (copy.target / "data/a.txt").touch()
    (copy.target / "run.sh").write_text("echo\n")
    assert take_over(copy) == Outcome((), ())
    assert snapshot(source) == before


def test_applies_added_modified_and_deleted_files_and_folders(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "data/a.txt").write_text("two\n")
    (copy.target / "new/deep").mkdir(parents=True)
    (copy.target / "new/deep/b.txt").write_text("b\n")
    (copy.target / "locked.txt").unlink()
    (copy.target / "data/empty").rmdir()
    outcome = take_over(copy)
    assert kinds(outcome) == {"data/a.txt": "modified", "new/deep/b.txt": "added", "locked.txt": "deleted"}
    assert outcome.notes == ()
    assert outcome.changes[0].diff == "--- a/data/a.txt\n+++ b/data/a.txt\n@@ -1 +1 @@\n-one\n+two\n"
    assert (source / "data/a.txt").read_text() == "two\n"
    assert (source / "new/deep/b.txt").read_text() == "b\n"
    assert not (source / "locked.txt").exists()
    assert not (source / "data/empty").exists()


def test_modes_are_taken_over_without_suid_and_sgid(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "data/a.txt").chmod(0o6755)
    (copy.target / "tool").write_text("x")
    (copy.target / "tool").chmod(0o6777)
    (copy.target / "locked.txt").write_text("opened\n")
    (copy.target / "run.sh").write_text("closed\n")
    (copy.target / "run.sh").chmod(0)
    take_over(copy)
    modes = {
        name: stat.S_IMODE((source / name).stat().st_mode) for name in ("data/a.txt", "tool", "locked.txt", "run.sh")
    }
    assert modes == {"data/a.txt": 0o755, "tool": 0o777, "locked.txt": 0o444, "run.sh": 0o600}


def test_a_change_of_mode_alone_is_a_change(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "data/a.txt").chmod(0o755)
    assert kinds(take_over(copy)) == {"data/a.txt": "modified"}
    assert (source / "data/a.txt").stat().st_mode & 0o111


def test_a_forged_time_does_not_hide_a_change(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    file = copy.target / "data/a.txt"
    status = file.stat()
    file.write_text("two\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kinds(take_over(copy)) == {"data/a.txt": "modified"}


def test_conflicts_with_the_host_are_noted_and_left_alone(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    for name in ("data/a.txt", "run.sh", "made.txt"):
        (copy.target / name).write_text("program\n")
    (copy.target / "locked.txt").unlink()
    (source / "data/a.txt").write_text("person\n")
    (source / "run.sh").unlink()
    (source / "made.txt").write_text("person\n")
    (source / "locked.txt").chmod(0o644)
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert sorted(outcome.notes) == [
        "data/a.txt was not applied: it was changed in the workspace meanwhile",
        "locked.txt was not applied: it was changed in the workspace meanwhile",
        "made.txt was not applied: something of this name is in the workspace already",
        "run.sh was not applied: it was deleted in the workspace meanwhile",
    ]
    assert (source / "data/a.txt").read_text() == "person\n"
    assert (source / "made.txt").read_text() == "person\n"
    assert not (source / "run.sh").exists()


def test_links_devices_git_and_settings_are_not_taken_over(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret\n")
    copy = copied(source, tmp_path)
    (copy.target / "data/a.txt").unlink()
    (copy.target / "data/a.txt").symlink_to(secret)
    (copy.target / "out").symlink_to(tmp_path)
    os.mkfifo(copy.target / "pipe")
    (copy.target / ".git").mkdir()
    (copy.target / ".git/hooks").write_text("evil")
    (copy.target / "hearth.toml").write_text("[agent]\napprove = 'auto'\n")
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert list(outcome.notes) == [
        "hearth.toml was not applied: hearth.toml may not be changed: it sets the agent's limits.",
        "out was not applied: links are not taken over",
        "pipe was not applied: only regular files and folders are taken over",
        "data/a.txt was not applied: links are not taken over",
        ".git was not taken over",
    ]
    assert (source / "data/a.txt").read_text() == "one\n"
    assert (source / ".git/config").read_text() == "secret"
    assert not (source / ".git/hooks").exists()
    assert not (source / "out").exists()
    assert (source / "hearth.toml").read_text() == "[sandbox]\n"


def test_a_link_on_the_host_is_not_written_through(source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    copy = copied(source, tmp_path)
    (copy.target / "data" / "new.txt").write_text("x")
    # Between copy and takeover, somebody replaces the folder by a link that leads out.
    (source / "data").rename(source / "moved")
    (source / "data").symlink_to(outside)
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert len(outcome.notes) == 1
    assert list(outside.iterdir()) == []


def test_a_hard_link_within_the_copy_is_two_files(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    os.link(copy.target / "data/a.txt", copy.target / "twin.txt")
    assert kinds(take_over(copy)) == {"twin.txt": "added"}
    assert (source / "twin.txt").stat().st_nlink == 1


def test_file_and_folder_change_places(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "run.sh").unlink()
    (copy.target / "run.sh").mkdir()
    (copy.target / "run.sh/inner").write_text("x")
    (copy.target / "data/empty").rmdir()
    (copy.target / "data/empty").write_text("a file now")
    assert kinds(take_over(copy)) == {"run.sh": "deleted", "run.sh/inner": "added", "data/empty": "added"}
    assert (source / "run.sh/inner").read_text() == "x"
    assert (source / "data/empty").read_text() == "a file now"


def test_names_that_are_not_text_are_refused(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    for name in (b"bad\xff", b"line\nbreak", b"esc\x1b[2J"):
        Path(os.fsdecode(os.fsencode(copy.target) + b"/" + name)).write_bytes(b"x")
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert len(outcome.notes) == 3
    assert all(note.isprintable() for note in outcome.notes)


def test_closed_folders_of_the_program_are_opened(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "shut").mkdir()
    (copy.target / "shut/file").write_text("x")
    (copy.target / "shut/file").chmod(0)
    (copy.target / "shut").chmod(0)
    assert kinds(take_over(copy)) == {"shut/file": "added"}


@pytest.mark.parametrize("setting", ["workspace_mb", "workspace_files"])
def test_quotas_of_the_copy(source: Path, tmp_path: Path, setting: str) -> None:
    if setting == "workspace_mb":
        (source / "large").write_bytes(b"x" * 1_100_000)
    with pytest.raises(WorkspaceError) as caught:
        copied(source, tmp_path, **{setting: 1})
    assert f"sandbox.{setting}" in caught.value.hint


def test_a_copy_that_grew_too_large_is_not_applied(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path, workspace_mb=1)
    (copy.target / "data/a.txt").write_text("two\n")
    (copy.target / "large").write_bytes(b"x" * 1_100_000)
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert outcome.notes[0].startswith("no change was applied: the workspace grew beyond 1 MB")
    assert (source / "data/a.txt").read_text() == "one\n"


def test_large_and_many_changes_stay_bounded(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    (copy.target / "large.txt").write_text("line\n" * 100_000)
    for number in range(60):
        (copy.target / f"file{number:02d}").write_text("x\n")
    changes = take_over(copy).changes
    assert len(changes) == 61
    assert sum(bool(change.diff) for change in changes) == 50
    assert (source / "large.txt").stat().st_size == 500_000


@pytest.fixture
def generated(source: Path) -> Path:
    for path in ("env/pyvenv.cfg", "env/lib/a.py", "web/node_modules/b.js", "out/CACHEDIR.TAG", "out/c.bin"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("x" * 100)
    return source


def test_generated_folders_are_empty_in_the_copy_and_count_for_nothing(generated: Path, tmp_path: Path) -> None:
    copy = copied(generated, tmp_path, workspace_files=12)
    found = {str(path.relative_to(copy.target)) for path in copy.target.rglob("*")}
    assert {"env", "web", "web/node_modules", "out"} <= found
    assert not any("/" in name and name.split("/")[0] in ("env", "out") for name in found)


def test_nothing_is_taken_over_from_a_generated_folder(generated: Path, tmp_path: Path) -> None:
    before = snapshot(generated)
    copy = copied(generated, tmp_path)
    (copy.target / "env" / "pyvenv.cfg").write_text("evil")
    (copy.target / "web" / "node_modules").rmdir()
    outcome = take_over(copy)
    assert outcome.changes == ()
    assert any("env is a generated folder" in note for note in outcome.notes)
    assert any(note.startswith("web/node_modules was not applied") for note in outcome.notes)
    assert snapshot(generated) == before
