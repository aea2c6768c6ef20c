"""What a check found, in figures and in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCES: dict[str, tuple[float, float]] = {
    "float32": (1e-5, 1e-4),
    "bfloat16": (0.01, 0.03),
    "float16": (0.002, 0.01),
    "int8": (0.02, 0.05),
    "int8, 7-bit activations": (0.04, 0.1),
    "int8-wide": (0.0002, 0.05),
    "native": (0.02, 0.05),
}
"""What a kernel and a whole tiny model may be off by, as a share of the largest value that is right. Weights are taken
as they are stored, so that these bound the arithmetic and the rounding of activations alone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference` is the largest, and `tolerance` the allowed one, as shares of the largest right value; None where
    the check did not get as far. `detail` says in words what is wrong, and is empty where nothing is."""

    name: str
    precision: str
    ok: bool
    tolerance: float
    difference: float | None
    detail: str = ""


def judge(name: str, precision: str, tolerance: float, expected: Tensor, compute: Callable[[], Tensor]) -> Verdict:
    """Compare what `compute` gives with `expected`, float32 on the CPU, element by element."""
    try:
        found = compute().float().cpu()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        return Verdict(name, precision, False, tolerance, None, f"It failed: {type(error).__name__}: {reason}")
    if found.shape != expected.shape:
        detail = f"It gave a result of shape {tuple(found.shape)} instead of {tuple(expected.shape)}."
        return Verdict(name, precision, False, tolerance, None, detail)
    broken = int((~found.isfinite()).sum())
    if broken:
        detail = f"It gave {broken} values of {found.numel()} that are no numbers, or infinite."
        return Verdict(name, precision, False, tolerance, None, detail)
    largest = float(expected.abs().max())
    apart = (found - expected).abs()
    difference = float(apart.max()) / max(largest, 1e-30)
    if difference <= tolerance:
        return Verdict(name, precision, True, tolerance, difference)
    return Verdict(name, precision, False, tolerance, difference, _explain(found, expected, apart, tolerance * largest))


def _explain(found: Tensor, expected: Tensor, apart: Tensor, allowed: float) -> str:
    if not bool(found.any()):
        return "It gave nothing but zeros."
    wrong = int((apart > allowed).sum())
    place = int(apart.argmax())
    at = [int(index) for index in torch.unravel_index(torch.tensor(place), apart.shape)]
    gave, wanted = float(found.flatten()[place]), float(expected.flatten()[place])
    return (
        f"{wrong} values of {found.numel()} are wrong; the worst, at {at}, is {gave:.5g} instead of {wanted:.5g}, "
        f"where {allowed:.2g} may be between them."
    )
