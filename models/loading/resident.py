"""Weights read into memory of this process alone, in pages of 2 MiB.

A file that is mapped lies in pages of 4 KiB, each of which the processor has to look up: the same weights pass through
it up to twice as fast from huge pages. The price is that two processes do not share them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from openhearth.errors import MalformedFileError
from openhearth.models.loading.safetensors import TensorEntry

_ALIGNMENT = 64
_PIECE = 8 << 20
_READERS = 2


def read_resident(path: Path, entries: Mapping[str, TensorEntry]) -> dict[str, torch.Tensor]:
    """The tensors `entries` of the safetensors file `path`; they keep their memory alive.

    Raises MalformedFileError where the file ends early, OSError where it cannot be read.
    """
    places: dict[str, int] = {}
    size = 0
    for name, entry in entries.items():
        places[name] = size
        size += -(-entry.size // _ALIGNMENT) * _ALIGNMENT
    if size == 0:
        return {}
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(memory)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:

        def read(piece: tuple[int, int, int]) -> None:
            at, offset, count = piece
            while count:
                done = os.preadv(descriptor, [view[at : at + count]], offset)
                if not done:
                    raise MalformedFileError(f"{path} ends early.", hint="Pull the model again.")
                at, offset, count = at + done, offset + done, count - done

        pieces = [
            (places[name] + start, entry.offset + start, min(_PIECE, entry.size - start))
            for name, entry in entries.items()
            for start in range(0, entry.size, _PIECE)
        ]
        with ThreadPoolExecutor(_READERS, "hearth-read") as pool:
            list(pool.map(read, pieces))
    finally:
        os.close(descriptor)
    whole = torch.frombuffer(view, dtype=torch.uint8)
    return {
        name: whole[places[name] : places[name] + entry.size].view(entry.dtype).view(entry.shape)
        for name, entry in entries.items()
    }
