"""Random weights of every kind that the engine computes with, and what numbers they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openhearth.models.device_policy import device_policy
from openhearth.models.kernels.formats import Bytes, Kind, pack_q4, pack_q4k, pack_q6k, pack_q8
from openhearth.models.kernels.library import library
from openhearth.models.kernels.weights import dequantise_panels, native_kind
from openhearth.models.layers.linear import LinearKind, needs_narrow_activations
from openhearth.models.layers.quantise import dequantise_rows, quantise_rows

FLOATS = ("float32", "bfloat16")
INT8 = ("int8", "int8-wide")
NATIVE = ("q4", "q4k", "q6k", "q8")
"""Of a native kind, the format, or several joined by `+`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A weight as a store holds it, by what follows the dot of its name, and the float32 matrix [out, in] it means."""

    kind: LinearKind
    stored: dict[str, Tensor]
    meant: Tensor


def sample_weight(label: str, outputs: int, inputs: int, generator: torch.Generator) -> Sample:
    """A weight whose results are about as large as its inputs. Of a native one, `outputs` are shared out evenly among
    the formats in whole panels, and `inputs` are whole super-blocks of 256."""
    if label.split("+")[0] in NATIVE:
        return _native(label, outputs, inputs, generator)
    weight = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
    if label in INT8:
        quantised, scale = quantise_rows(weight)
        return Sample(label, {"weight": quantised, "scale": scale}, dequantise_rows(quantised, scale))
    stored = weight.to(torch.bfloat16 if label == "bfloat16" else torch.float32)
    return Sample(label, {"weight": stored}, stored.float())


def arithmetic(label: str, device: torch.device) -> str:
    """What a linear computes in on `device`: a key of `verdict.TOLERANCES`."""
    policy = device_policy(device)
    if label == "float32":
        return label
    if label in INT8 and policy.int8:
        return "int8, 7-bit activations" if label == "int8" and needs_narrow_activations() else label
    if label.split("+")[0] in NATIVE and device.type == "cpu" and library() is not None:
        return "native"
    return str(policy.half).removeprefix("torch.")


def _native(label: str, outputs: int, inputs: int, generator: torch.Generator) -> Sample:
    formats = label.split("+")
    share = outputs // len(formats)
    panels = [_PANELS[name](share, inputs, generator) for name in formats]
    kind = native_kind([(_KINDS[name], share) for name in formats], inputs)
    weight = torch.cat([torch.from_numpy(part.reshape(-1)) for part in panels])
    return Sample(kind, {"weight": weight}, dequantise_panels(weight, kind))


def _codes(outputs: int, count: int, end: int, generator: torch.Generator) -> Bytes:
    return torch.randint(end, (outputs, count), generator=generator, dtype=torch.uint8).numpy()


def _scales(outputs: int, count: int, size: float, generator: torch.Generator) -> np.ndarray:
    """Float16 scales between half of `size` and one and a half."""
    return (size * (torch.rand(outputs, count, generator=generator) + 0.5)).half().numpy()


def _q4(outputs: int, inputs: int, generator: torch.Generator) -> Bytes:
    d = _scales(outputs, inputs // 32, 0.2 * inputs**-0.5, generator)
    return pack_q4(_codes(outputs, inputs, 16, generator), d, (d * np.float16(-7.5)).astype(np.float16))


def _q4k(outputs: int, inputs: int, generator: torch.Generator) -> Bytes:
    d = _scales(outputs, inputs // 256, 0.2 / 32 * inputs**-0.5, generator)
    scale = _codes(outputs, inputs // 32, 64, generator)
    least = (d * np.float16(-7.5)).astype(np.float16)
    return pack_q4k(_codes(outputs, inputs, 16, generator), d, least, scale, scale)


def _q6k(outputs: int, inputs: int, generator: torch.Generator) -> Bytes:
    d = _scales(outputs, inputs // 256, 0.05 / 64 * inputs**-0.5, generator)
    scale = _codes(outputs, inputs // 16, 256, generator).view(np.int8)
    return pack_q6k(_codes(outputs, inputs, 64, generator), d, scale)


def _q8(outputs: int, inputs: int, generator: torch.Generator) -> Bytes:
    d = _scales(outputs, inputs // 32, 0.014 * inputs**-0.5, generator)
    return pack_q8(_codes(outputs, inputs, 256, generator), d)


_KINDS: dict[str, Kind] = {"q4": "q4", "q4k": "q4k", "q6k": "q6k", "q8": "q8"}
_PANELS: dict[str, Callable[[int, int, torch.Generator], Bytes]] = {"q4": _q4, "q4k": _q4k, "q6k": _q6k, "q8": _q8}
