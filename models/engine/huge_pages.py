"""Moving a loaded model into huge pages, behind the back of whoever is already using it.

FBGEMM keeps packed weights in ordinary 4 KiB pages, of which a gigabyte and a half has four hundred thousand: the
processor then spends a tenth of its decoding time on looking up where they lie. No allocator can be told to do better
from inside the process, but Linux 6.1 and later can be asked to copy what is there into pages of 2 MiB. That takes a
core some seconds for such a model, so it is done in the background.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
_MADV_COLLAPSE = 25
_PAGE = 2 << 20
_STEP = 16 * _PAGE
"""Bytes of one request, which holds up other threads' page faults."""
_SMALLEST = 16 << 20
_RESIDENT = 0.9
"""The share of a region in memory from which on it is worth its holes: those are filled with zeros."""


def use_huge_pages(stop: threading.Event) -> int:
    """Ask for huge pages wherever this process holds much memory; returns the bytes that were granted.

    Returns early when `stop` is set, and at once where the system does not offer it. Changes no content.
    """
    if not sys.platform.startswith("linux"):
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    granted = 0
    try:
        regions = list(_regions(_MAPS.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return 0
    for start, end in regions:
        for at in range(start, end, _STEP):
            if stop.is_set():
                return granted
            size = min(_STEP, end - at)
            # Refusals are normal: the region may be gone by now, or no huge page be free.
            if madvise(at, size, _MADV_COLLAPSE) == 0:
                granted += size
    return granted


def _regions(maps: str) -> Iterator[tuple[int, int]]:
    """Private anonymous memory, cut to whole huge pages, from the text of `/proc/self/smaps`."""
    start = end = 0
    for line in maps.splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            low, _, high = fields[0].partition("-")
            anonymous = fields[1].startswith("rw-p") and fields[4] == "0" and fields[5:] in ([], ["[heap]"])
            start, end = (int(low, 16), int(high, 16)) if anonymous else (0, 0)
        elif fields[0] == "Rss:" and end - start >= _SMALLEST and int(fields[1]) * 1024 >= _RESIDENT * (end - start):
            yield -(-start // _PAGE) * _PAGE, end // _PAGE * _PAGE
