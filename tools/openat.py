"""Opening files beneath a folder, whatever anybody planted there: no `..`, no symbolic links, no magic links."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, parts: Sequence[str], flags: int, mode: int = 0) -> int:
    """Open `parts`, joined, beneath the open directory `folder` and return a descriptor.

    Raises OSError: ELOOP where a symbolic link is met, EXDEV where the path would leave the folder.
    """
    flags |= os.O_CLOEXEC
    if sys.platform == "linux":
        try:
            return _openat2(folder, "/".join(parts) or ".", flags, mode)
        except OSError as error:
            # An older kernel, or a container whose own filter answers EPERM to calls that it does not know.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
    return open_by_component(folder, parts, flags, mode)


def open_by_component(folder: int, parts: Sequence[str], flags: int, mode: int = 0) -> int:
    """The same with one `openat(O_NOFOLLOW)` for each component, for systems without openat2."""
    if any(part in ("..", "") or "/" in part for part in parts):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/".join(parts))
    current = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        for part in parts[:-1]:
            inner = _open_folder(part, current)
            os.close(current)
            current = inner
        return os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, mode, dir_fd=current)
    finally:
        os.close(current)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        # With O_DIRECTORY a symbolic link answers ENOTDIR; say what it really is.
        if _is_link(name, parent):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def _is_link(name: str, parent: int) -> bool:
    try:
        os.readlink(name, dir_fd=parent)
    except OSError:
        return False
    return True


def _openat2(folder: int, path: str, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    while True:
        ctypes.set_errno(0)
        result = _LIBC.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(folder),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if result >= 0:
            return int(result)
        code = ctypes.get_errno()
        # EAGAIN: something was renamed while a `..` was resolved; the manual says to try again.
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code), path)


_LIBC = ctypes.CDLL(None, use_errno=True)
