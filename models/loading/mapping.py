"""Opening a model file as a private memory map."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from openhearth.errors import MalformedFileError, ModelUnavailableError


def map_file(path: Path) -> mmap.mmap:
    """Map a regular, non-empty file.

    The map is copy-on-write, so that tensors may lie on it directly: torch accepts writable memory only, and the file
    itself can never be changed through it. Raises ModelUnavailableError when the file cannot be opened,
    MalformedFileError when there is nothing to map.
    """
    try:
        # O_NONBLOCK: opening a named pipe must fail below, not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ModelUnavailableError(
            f"Cannot open {path}: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelUnavailableError(f"{path} is not a regular file.", hint="Name the model file itself.")
        if status.st_size == 0:
            raise MalformedFileError(f"{path} is empty.", hint="Fetch the file again.")
        return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise ModelUnavailableError(f"Cannot map {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def close_map(mapping: mmap.mmap) -> None:
    """Unmap now, or, while tensors still lie on the map, when the last of them goes."""
    try:
        mapping.close()
    except BufferError:
        return
