"""Random weights in every format of the kernels, the library to run them with, and plain arithmetic to compare with."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openhearth.models.kernels.build import LIBRARY, compile_library, find_compiler
from openhearth.models.kernels.formats import (
    GROUP,
    KINDS,
    SUPER,
    Bytes,
    Kind,
    pack_q4,
    pack_q4k,
    pack_q6k,
    pack_q8,
    unpack,
)
from openhearth.models.kernels.library import INTERFACE, declare
from openhearth.models.kernels.structs import Matrix

LEVELS = ("avx512", "avx2", "plain")


def open_library(folder: Path) -> ctypes.CDLL:
    """The library of this source tree, compiled into `folder` where the tree has none."""
    path = LIBRARY
    if not path.exists():
        path = folder / LIBRARY.name
        compiler = find_compiler()
        assert compiler is not None, "the kernels are tested with a C compiler at hand"
        compile_library(path, compiler)
    library = ctypes.CDLL(str(path))
    declare(library)
    assert library.hearth_interface() == INTERFACE, "built from another version; call make setup"
    return library


def levels_of(library: ctypes.CDLL) -> list[str]:
    """Those that this processor has, the best one first, which is then in use."""
    found = [name for name in LEVELS if library.hearth_use(name.encode()) == 0]
    library.hearth_use(found[0].encode())
    return found


@dataclass
class Weights:
    """A matrix in panels, and the float32 matrix that it stands for."""

    kind: Kind
    panels: Bytes
    values: Tensor
    matrix: Matrix

    @property
    def outputs(self) -> int:
        return self.values.shape[0]

    @property
    def inputs(self) -> int:
        return self.values.shape[1]


def random_panels(kind: Kind, outputs: int, inputs: int, seed: int = 0) -> Bytes:
    rng = np.random.default_rng(seed)
    groups = -(-inputs // GROUP)

    def halves(*shape: int) -> Any:
        return rng.normal(0, 0.01, shape).astype("<f2")

    match kind:
        case "q4":
            q = rng.integers(0, 16, (outputs, inputs), np.uint8)
            return pack_q4(q, halves(outputs, groups), halves(outputs, groups))
        case "q4k":
            q = rng.integers(0, 16, (outputs, inputs), np.uint8)
            scales = [rng.integers(0, 64, (outputs, groups), np.uint8) for _ in range(2)]
            supers = (outputs, inputs // SUPER)
            return pack_q4k(q, halves(*supers), halves(*supers), *scales)
        case "q6k":
            q = rng.integers(0, 64, (outputs, inputs), np.uint8)
            scale = rng.integers(-128, 128, (outputs, inputs // 16), np.int8)
            return pack_q6k(q, halves(outputs, inputs // SUPER), scale)
        case "q8":
            q = rng.integers(0, 256, (outputs, inputs), np.uint8)
            return pack_q8(q, halves(outputs, groups))


def weights(kind: Kind, outputs: int, inputs: int, seed: int = 0, bias: Tensor | None = None) -> Weights:
    panels = random_panels(kind, outputs, inputs, seed)
    values = torch.from_numpy(unpack(panels, kind, outputs, inputs))
    at = None if bias is None else bias.data_ptr()
    matrix = Matrix(panels.ctypes.data, at, panels.shape[1], KINDS.index(kind), inputs, outputs, 0)
    return Weights(kind, panels, values, matrix)


def multiply(
    library: ctypes.CDLL,
    weight: Weights,
    x: Tensor,
    *,
    factors: Tensor | None = None,
    out: Tensor | None = None,
    threads: int = 2,
) -> Tensor:
    """`hearth_multiply`; adds to `out` when it is given."""
    add = out is not None
    if out is None:
        out = torch.full((x.shape[0], weight.outputs), float("nan"))
    factors_at = None if factors is None else factors.data_ptr()
    assert (
        library.hearth_multiply(
            ctypes.byref(weight.matrix),
            x.data_ptr(),
            x.shape[0],
            factors_at,
            out.data_ptr(),
            out.stride(0),
            add,
            threads,
        )
        == 0
    )
    return out


def rounded(x: Tensor) -> Tensor:
    """What the kernels make of activations: 8 bits with one scale for each 32 values of a row."""
    groups = -(-x.shape[1] // GROUP)
    padded = torch.nn.functional.pad(x, (0, groups * GROUP - x.shape[1])).view(len(x), groups, GROUP)
    largest = padded.abs().amax(-1, True)
    inverse = torch.where(largest > 0, 127 / largest, 0.0)
    return ((padded * inverse).round() * (largest / 127)).view(len(x), -1)[:, : x.shape[1]]
