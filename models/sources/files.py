"""Bytes on the disk: room for them, their hash, and the atomic step from partial to complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from openhearth.errors import DiskFullError, IntegrityError, StorageError
from openhearth.models.sources.job import Job

CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WORTH_SHOWING = 64 << 20
_HINT = "Free some space and repeat the command; what has arrived is kept and need not be fetched again."


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write in `folder` into DiskFullError or StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"No room left in {folder} ({error.strerror}).", hint=_HINT) from error
        raise StorageError(
            f"Cannot write in {folder}: {error.strerror or error}.",
            hint="HEARTH_HOME moves all of OpenHearth's files to another folder.",
        ) from error


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise DiskFullError unless `needed` bytes fit beside `folder`."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DiskFullError(
            f"{what} needs {_gb(needed)}, and {existing} has {_gb(free)} left.",
            hint=f"{_HINT} HEARTH_HOME moves all of OpenHearth's files to another folder.",
        )


def same_disk(one: Path, other: Path) -> bool:
    """Whether both folders, existing or to be made, share one file system."""
    return _device(one) == _device(other)


def sha256_of(file: Path, job: Job) -> str:
    """The hash of a file's bytes; cancellable."""
    digest = hashlib.sha256()
    done, total = 0, file.stat().st_size
    with file.open("rb") as stream:
        while block := stream.read(CHUNK):
            job.check()
            digest.update(block)
            done += len(block)
            if total >= _WORTH_SHOWING:
                job.progress(f"Checking {file.name.removesuffix('.part')}", done, total)
    return digest.hexdigest()


def git_blob_id(file: Path) -> str:
    """The id that git, and so the hub, gives to a small file's content."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def accept(part: Path, target: Path, sha256: str, job: Job) -> None:
    """Make a complete `part` the `target`, atomically, if its hash is right; otherwise delete it.

    Raises IntegrityError.
    """
    found = sha256_of(part, job)
    if found != sha256:
        part.unlink()
        raise wrong_bytes(target.name, sha256, found)
    publish(part, target)


def publish(part: Path, target: Path) -> None:
    """Rename once the bytes are on the disk."""
    with disk_errors(target.parent):
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(target)


def wrong_bytes(name: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        f"{name} has the wrong bytes: expected sha256 {expected}, found {found}.",
        hint="It was deleted. Repeat the command; if it happens again, the source serves another file.",
    )


def _device(folder: Path) -> int:
    return next(parent for parent in (folder, *folder.parents) if parent.exists()).stat().st_dev


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
