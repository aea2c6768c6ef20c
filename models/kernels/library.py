"""The kernels' shared library, loaded on first use; None where it is missing or fails.

It must fit this source: the library says which version of the interface it has.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from pathlib import Path

from openhearth.models.kernels.structs import DecoderStruct, Matrix, StepStruct

INTERFACE = 2
"""Raised with every change of what Python calls; hearth.h has its twin."""

LEVEL_VARIABLE = "HEARTH_KERNELS"
"""Environment variable that forces a level (`avx512`, `avx2`, `plain`) or turns the library `off`."""

_PATH = Path(__file__).parent / "_hearth.so"
_lock = threading.Lock()
_loaded: list[ctypes.CDLL | None] = []


def library() -> ctypes.CDLL | None:
    """The library, or None where it cannot be used; `why_not` says why."""
    with _lock:
        if not _loaded:
            try:
                _loaded.append(_open(_PATH, os.environ.get(LEVEL_VARIABLE, "")))
            except OSError:
                _loaded.append(None)
        return _loaded[0]


def level() -> str | None:
    """The instructions in use: `avx512`, `avx2` or `plain`; None without the library."""
    found = library()
    return None if found is None else found.hearth_level().decode()


def worth_using() -> bool:
    """Whether the kernels are faster here than PyTorch's own. Plain C is not."""
    return level() not in (None, "plain")


def why_not() -> str | None:
    """Why there are no native kernels, in a sentence for people; None when there are."""
    if library() is not None:
        return None
    if os.environ.get(LEVEL_VARIABLE) == "off":
        return f"{LEVEL_VARIABLE} is off."
    try:
        _open(_PATH, os.environ.get(LEVEL_VARIABLE, ""))
    except OSError as error:
        return str(error)
    return None


def _open(path: Path, chosen: str) -> ctypes.CDLL | None:
    """Raises OSError."""
    if chosen == "off":
        return None
    if sys.byteorder != "little":
        raise OSError(f"The kernels do not run on {platform.machine()}, which is big-endian.")
    if not path.exists():
        raise OSError("They were not built: there was no C compiler when OpenHearth was installed.")
    library = ctypes.CDLL(str(path))
    declare(library)
    if library.hearth_interface() != INTERFACE:
        raise OSError(f"{path} was built from another version of the source; install OpenHearth again.")
    if chosen and library.hearth_use(chosen.encode()) != 0:
        raise OSError(f"{LEVEL_VARIABLE} is {chosen!r}, a level that this processor or build does not have.")
    return library


def declare(library: ctypes.CDLL) -> None:
    """Tell ctypes the functions' types. Raises OSError for a library that lacks one."""
    number, wide, pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    matrix = ctypes.POINTER(Matrix)
    functions: dict[str, tuple[object, tuple[object, ...]]] = {
        "hearth_interface": (number, ()),
        "hearth_level": (ctypes.c_char_p, ()),
        "hearth_use": (number, (ctypes.c_char_p,)),
        "hearth_multiply": (number, (matrix, pointer, wide, pointer, pointer, wide, number, number)),
        "hearth_decode": (number, (ctypes.POINTER(DecoderStruct), ctypes.POINTER(StepStruct), number)),
        "hearth_rows": (None, (matrix, pointer, wide, pointer)),
        "hearth_stop": (None, ()),
    }
    for name, (result, arguments) in functions.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise OSError(f"The kernels' library lacks {name}; install OpenHearth again.") from error
        function.restype, function.argtypes = result, arguments
