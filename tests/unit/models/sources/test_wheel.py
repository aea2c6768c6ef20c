"""Data out of wheels, and wheels that are not what they should be."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest

from openhearth.config import Settings
from openhearth.errors import CancelledError, DownloadError
from openhearth.models.sources.job import Job
from openhearth.models.sources.wheel import extract_member


@pytest.fixture
def job() -> Job:
    return Job("tiny", Settings(), lambda *_: None, threading.Event())


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/a.bin", b"content" * 1000)
        archive.writestr("data/dir/", b"")
    return path


def test_a_member_arrives_whole(wheel: Path, tmp_path: Path, job: Job) -> None:
    extract_member(wheel, "data/a.bin", 7000, tmp_path / "out", job)
    assert (tmp_path / "out").read_bytes() == b"content" * 1000
    assert not (tmp_path / "out.tmp").exists()


@pytest.mark.parametrize(
    ("member", "size", "words"),
    [("data/b.bin", 7000, "holds no"), ("data/a.bin", 6999, "instead of"), ("data/dir/", 0, "instead of")],
)
def test_another_content_is_refused(wheel: Path, tmp_path: Path, job: Job, member: str, size: int, words: str) -> None:
    with pytest.raises(DownloadError, match=words):
        extract_member(wheel, member, size, tmp_path / "out", job)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", [35, 60])
def test_damage_is_noticed(wheel: Path, tmp_path: Path, job: Job, where: int) -> None:
    spoiled = bytearray(wheel.read_bytes())
    spoiled[where] ^= 0xFF
    spoiled[where + 1] ^= 0xFF
    wheel.write_bytes(spoiled)
    with pytest.raises(DownloadError):
        extract_member(wheel, "data/a.bin", 7000, tmp_path / "out", job)
    assert not (tmp_path / "out").exists()


def test_what_is_no_zip_is_refused(tmp_path: Path, job: Job) -> None:
    (tmp_path / "x.whl").write_bytes(b"<html>")
    with pytest.raises(DownloadError, match="damaged"):
        extract_member(tmp_path / "x.whl", "a", 1, tmp_path / "out", job)


def test_cancelling_stops_it(wheel: Path, tmp_path: Path, job: Job) -> None:
    job.cancel.set()
    with pytest.raises(CancelledError):
        extract_member(wheel, "data/a.bin", 7000, tmp_path / "out", job)
    assert not (tmp_path / "out").exists()
