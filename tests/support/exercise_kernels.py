"""A program for a library that was compiled with sanitizers: every kernel over many shapes, at every level.

    LD_PRELOAD=libasan.so python tests/support/exercise_kernels.py LIBRARY

Arguments lie at the very ends of their arrays, so that a step beyond them is caught.
"""

from __future__ import annotations

import ctypes
import itertools
import sys

import torch
from support.kernels import KINDS, levels_of, multiply, weights

from openhearth.models.kernels.library import declare


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    declare(library)
    for level, kind in itertools.product(levels_of(library), KINDS):
        assert library.hearth_use(level.encode()) == 0
        for rows, outputs, units in itertools.product((1, 2, 17), (1, 16, 33), (1, 3)):
            inputs = 256 * units if kind in ("q4k", "q6k") else 31 * units
            weight = weights(kind, outputs, inputs)
            x = torch.randn(rows, inputs)
            multiply(library, weight, x, factors=torch.ones(rows), threads=2)
            ids = torch.arange(outputs)
            out = torch.empty(outputs, inputs)
            library.hearth_rows(ctypes.byref(weight.matrix), ids.data_ptr(), outputs, out.data_ptr())
    library.hearth_stop()
    print("clean")


if __name__ == "__main__":
    main()
