"""Making what the sandbox needs readable for its user, once, and only when it is not."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openhearth.errors import SandboxUnavailableError
from openhearth.tools.sandbox import locate, staging
from openhearth.tools.sandbox.bwrap import environment
from openhearth.tools.sandbox.staging import find_interpreter, make_readable, reachable, stage


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="openhearth-staging-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def cache(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = open_folder / "cache"
    monkeypatch.setattr(staging, "_candidates", lambda: iter([folder]))
    return folder


def test_reachable_follows_the_modes(open_folder: Path) -> None:
    file = open_folder / "inner" / "file"
    file.parent.mkdir()
    file.write_text("x")
    assert reachable(file)
    assert reachable(file.parent)
    assert not reachable(open_folder / "missing")
    file.parent.chmod(0o700)
    # An ordinary user runs the sandbox as itself and reaches its own files; root's sandbox is another user.
    assert reachable(file) is (os.geteuid() != 0)
    file.parent.chmod(0o755)
    file.chmod(0o600)
    assert reachable(file) is (os.geteuid() != 0)


def test_a_stage_is_filled_once_for_each_key(cache: Path) -> None:
    filled: list[Path] = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        (folder / "content").write_text("x")

    first = stage("thing", "1", fill)
    assert stage("thing", "1", fill) == first
    assert stage("thing", "2", fill) != first
    assert len(filled) == 2
    assert sorted(path.name for path in cache.iterdir()) == sorted([first.name, stage("thing", "2", fill).name])
    assert stat.S_IMODE(first.stat().st_mode) == 0o755


def test_stages_made_at_the_same_time_are_one(cache: Path) -> None:
    def fill(folder: Path) -> None:
        for number in range(20):
            (folder / str(number)).write_text("x")

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: stage("thing", "key", fill), range(8)))
    (folder,) = folders
    assert len(list(folder.iterdir())) == 20
    assert list(cache.iterdir()) == [folder]


def test_a_failed_stage_leaves_nothing(cache: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        stage("thing", "key", fill)
    assert list(cache.iterdir()) == []


def test_a_cache_that_others_can_write_is_not_trusted(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(SandboxUnavailableError, match="no folder"):
        stage("thing", "key", lambda folder: None)


def test_make_readable_keeps_what_can_be_started(open_folder: Path) -> None:
    (open_folder / "a").mkdir(mode=0o700)
    for name, mode in (("data", 0o600), ("program", 0o700)):
        (open_folder / "a" / name).write_text("x")
        (open_folder / "a" / name).chmod(mode)
    (open_folder / "a" / "link").symlink_to("/nowhere")
    make_readable(open_folder)
    modes = {name: stat.S_IMODE((open_folder / "a" / name).stat().st_mode) for name in ("data", "program")}
    assert modes == {"data": 0o644, "program": 0o755}
    assert stat.S_IMODE((open_folder / "a").stat().st_mode) == 0o755


def test_interpreter_is_reachable_and_starts() -> None:
    interpreter = find_interpreter()
    sources = {mount.target: mount.source for mount in interpreter.mounts}
    assert all(reachable(source) for source in sources.values())
    binary = sources.get(interpreter.executable, Path(interpreter.executable))
    library = sources.get(staging.PYTHON + "/lib")
    started = subprocess.run(
        [binary, "-I", "-S", "-c", "import json, ssl, sqlite3; print(json.dumps(1))"],
        env={"LD_LIBRARY_PATH": str(library)} if interpreter.library_path else {},
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout == "1\n"
    assert {"duckdb", "numpy"} <= set(interpreter.packages)
    assert f"{staging.PACKAGES}/duckdb" in sources


def test_environment_holds_nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    variables = environment(find_interpreter())
    assert "SECRET" not in variables
    assert variables["HOME"] == "/home/agent"


def test_bwrap_is_found_and_starts_for_everybody() -> None:
    locate.find_bwrap.cache_clear()
    binary = locate.find_bwrap()
    assert reachable(binary)
    assert locate.find_bwrap() is binary
