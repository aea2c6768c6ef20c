"""Linears and embeddings over quantised weights of the native kernels, and what stands in where there are none.

Weights keep the numbers of the file they came from, in groups of 32 (kernels/formats.py); activations are rounded to 8
bits with one scale for each group of a row, so that an outlier spoils 31 neighbours and not a whole row. A row's result
is the same to the last bit whatever rows it is computed with, and on every level of processor.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from openhearth.models.device_policy import device_policy
from openhearth.models.kernels.formats import KINDS, PANEL, unpack
from openhearth.models.kernels.library import library
from openhearth.models.kernels.structs import Matrix
from openhearth.models.kernels.weights import Part, dequantise_panels, panels_in, parts_of, shape_of
from openhearth.models.layers.linear import FloatLinear, Linear, RowScale


def native_linear(weight: Tensor, kind: str, bias: Tensor | None, device: torch.device) -> Linear:
    """The linear over the stored `weight` (kernels/weights.py). Where the kernels cannot run, the weight is unpacked
    (models/device_policy.py)."""
    if device.type != "cpu" or library() is None:
        return FloatLinear(dequantise_panels(weight, kind).to(device, device_policy(device).half), bias)
    return NativeLinear(weight, kind, bias)


class NativeLinear:
    """See the module and `Linear`. Uses as many threads as torch would."""

    __slots__ = ("_multiply", "_parts", "bias", "inputs", "outputs", "weight")

    def __init__(self, weight: Tensor, kind: str, bias: Tensor | None = None) -> None:
        found = library()
        if found is None:
            raise RuntimeError("the native kernels are not available")
        self.weight, self.bias = weight.contiguous(), None if bias is None else bias.contiguous()
        self.outputs, self.inputs = shape_of(kind)
        self._multiply = found.hearth_multiply
        self._parts: list[tuple[int, Matrix]] = []
        first = 0
        for part in parts_of(kind):
            at = None if self.bias is None else self.bias.data_ptr() + 4 * first
            self._parts.append((4 * first, matrix_of(self.weight, part, at)))
            first += part.outputs

    @property
    def matrices(self) -> list[Matrix]:
        """The parts, as C sees them; valid as long as this object lives."""
        return [matrix for _, matrix in self._parts]

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        rows = x.shape[0]
        x = x.contiguous()
        factors = None
        if row_scale is not None:
            factors = torch.full((rows,), row_scale) if isinstance(row_scale, float) else row_scale.contiguous()
        y = torch.empty(rows, self.outputs)
        for offset, matrix in self._parts:
            failed = self._multiply(
                ctypes.byref(matrix),
                x.data_ptr(),
                rows,
                None if factors is None else factors.data_ptr(),
                y.data_ptr() + offset,
                self.outputs,
                0,
                torch.get_num_threads(),
            )
            if failed:
                raise MemoryError(f"no memory for {rows} rows of {self.inputs} inputs")
        return y


class NativeEmbedding:
    """Token embeddings out of quantised weights, times `multiplier`; see `Embedding`."""

    __slots__ = ("_device", "_multiplier", "_part", "weight")

    def __init__(self, weight: Tensor, kind: str, device: torch.device, multiplier: float = 1.0) -> None:
        self.weight = weight.contiguous()
        (self._part,) = parts_of(kind)
        self._device, self._multiplier = device, multiplier

    def __call__(self, ids: Tensor) -> Tensor:
        """`ids` is int64 [rows]; gives a new tensor [rows, size]."""
        part, found = self._part, library()
        ids = ids.cpu().contiguous()
        rows = torch.empty(len(ids), part.inputs)
        if found is None:
            panels = panels_in(self.weight, part)[ids // PANEL]
            unpacked = torch.from_numpy(unpack(panels.numpy(), part.format, PANEL * len(ids), part.inputs))
            rows = unpacked.view(len(ids), PANEL, part.inputs)[torch.arange(len(ids)), ids % PANEL]
        else:
            found.hearth_rows(ctypes.byref(matrix_of(self.weight, part)), ids.data_ptr(), len(ids), rows.data_ptr())
        if self._multiplier != 1.0:
            rows.mul_(self._multiplier)
        return rows.to(self._device)


def matrix_of(weight: Tensor, part: Part, bias: int | None = None) -> Matrix:
    """A part of `weight`, as C sees it: valid as long as `weight` and the bias live."""
    panels = panels_in(weight, part)
    return Matrix(panels.data_ptr(), bias, panels.shape[1], KINDS.index(part.format), part.inputs, part.outputs, 0)
