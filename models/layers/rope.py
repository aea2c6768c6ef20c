"""Rotary position embedding by complex multiplication.

Hugging Face checkpoints pair component i with i + head_dim/2. The store interleaves the pairs when it is written
(`interleave`), so that a pair is one complex number and rotating is one multiplication. Attention scores do not
change, as queries and keys are permuted alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from openhearth.errors import MalformedFileError


def interleave(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows [heads * head_dim, …] of a query or key projection (or its bias) from halves to pairs."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def rotations(
    head_dim: int, theta: float, scaling: Mapping[str, Any] | None, length: int, device: torch.device
) -> Tensor:
    """Complex rotations [length, 1, head_dim / 2] for positions 0 … length - 1.

    `scaling` is the checkpoint's `rope_scaling`: kinds default, linear, llama3 and yarn, or
    `factors` with one divisor for each frequency.
    """
    frequencies, magnitude = _frequencies(head_dim, theta, scaling or {})
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return torch.polar(torch.full_like(angles, magnitude), angles)[:, None, :].to(device)


def spread(rotation: Tensor, rotated: int, plain: int) -> Tensor:
    """Rotations [rows, 1, head_dim / 2] for whole rows of `rotated` heads and `plain` ones that stay as they are."""
    rows, _, half = rotation.shape
    whole = torch.ones(rows, rotated + plain, half, dtype=rotation.dtype, device=rotation.device)
    whole[:, :rotated] = rotation
    return whole.view(rows, -1)


def rotate_(heads: Tensor, rotation: Tensor) -> None:
    """Rotate float32 rows of heads [rows, heads * head_dim] in place; `rotation` is what `spread` gives."""
    heads.view(torch.complex64).mul_(rotation)


def _frequencies(head_dim: int, theta: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    plain = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    match kind:
        case "default":
            return plain, 1.0
        case "linear":
            return plain / float(scaling["factor"]), 1.0
        case "factors":
            return plain / torch.tensor(scaling["factors"], dtype=torch.float32), 1.0
        case "llama3":
            return _llama3(plain, scaling), 1.0
        case "yarn":
            return _yarn(plain, head_dim, theta, scaling)
    raise MalformedFileError(
        f"The model scales its rotary positions by {kind!r}, which is not known here.",
        hint="Known are default, linear, llama3, yarn and factors.",
    )


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are stretched, short ones kept, with a ramp between."""
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    original = float(scaling["original_max_position_embeddings"])
    turns = original * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / factor)


def _yarn(plain: Tensor, head_dim: int, theta: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """YaRN (Peng et al., 2023, arXiv 2309.00071): interpolate by wavelength, and sharpen attention a little."""
    factor = float(scaling["factor"])
    original = float(scaling["original_max_position_embeddings"])

    def dimension(turns: float) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(float(scaling.get("beta_fast") or 32))), 0)
    high = min(math.ceil(dimension(float(scaling.get("beta_slow") or 1))), head_dim - 1)
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
    magnitude = scaling.get("attention_factor") or (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)
    return plain * (1 - ramp) + plain / factor * ramp, float(magnitude)
