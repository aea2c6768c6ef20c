"""Rotary position embedding by complex multiplication.

Hugging Face checkpoints pair component i with i + rotated/2. The store interleaves the pairs when it is written
(`interleave`), so that a pair is one complex number and rotating is one multiplication. Attention scores do not
change, as queries and keys are permuted alike. Components that are not rotated stand behind those that are, and are
multiplied by one.

Two kinds of scaling depend on the length of the text (dynamic, longrope). Rotated keys are kept, so all must be rotated
alike: the length is the one that the decoder is built for, not that of the text of the moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from openhearth.errors import MalformedFileError


def interleave(rows: Tensor, heads: int, rotated: int) -> Tensor:
    """Reorder the rows [heads * head_dim, …] of a query or key projection (or its bias, or its norm's weight) from
    halves to pairs, in the first `rotated` components of each head."""
    by_head = rows.reshape(heads, -1, *rows.shape[1:])
    pairs = by_head[:, :rotated].reshape(heads, 2, rotated // 2, *rows.shape[1:]).transpose(1, 2)
    pairs = pairs.reshape(heads, rotated, *rows.shape[1:])
    return torch.cat([pairs, by_head[:, rotated:]], 1).reshape(rows.shape)


def rotations(
    head_dim: int,
    theta: float,
    scaling: Mapping[str, Any] | None,
    length: int,
    device: torch.device,
    *,
    rotated: int | None = None,
) -> Tensor:
    """Complex rotations [length, 1, head_dim / 2] for positions 0 … length - 1.

    `scaling` is described in loading/rope_scaling.py, `rotated` is how many components of a head turn (None: all).
    """
    rotated = head_dim if rotated is None else rotated
    frequencies, magnitude = _frequencies(rotated, theta, scaling or {}, length)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    turning = torch.polar(torch.full_like(angles, magnitude), angles)
    still = turning.new_ones(length, (head_dim - rotated) // 2)
    return torch.cat([turning, still], 1)[:, None, :].to(device)


def spread(rotation: Tensor, rotated: int, plain: int) -> Tensor:
    """Rotations [rows, 1, head_dim / 2] for whole rows of `rotated` heads and `plain` ones that stay as they are."""
    rows, _, half = rotation.shape
    whole = torch.ones(rows, rotated + plain, half, dtype=rotation.dtype, device=rotation.device)
    whole[:, :rotated] = rotation
    return whole.view(rows, -1)


def rotate_(heads: Tensor, rotation: Tensor) -> None:
    """Rotate float32 rows of heads [rows, heads * head_dim] in place; `rotation` is what `spread` gives."""
    heads.view(torch.complex64).mul_(rotation)


def _frequencies(rotated: int, theta: float, scaling: Mapping[str, Any], length: int) -> tuple[Tensor, float]:
    plain = _plain(rotated, theta)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    match kind:
        case "default":
            return plain, 1.0
        case "linear":
            return plain / float(scaling["factor"]), 1.0
        case "factors":
            return plain / torch.tensor(scaling["factors"], dtype=torch.float32), 1.0
        case "dynamic":
            return _dynamic(rotated, theta, scaling, length), 1.0
        case "llama3":
            return _llama3(plain, scaling), 1.0
        case "yarn":
            return _yarn(plain, rotated, theta, scaling)
        case "longrope":
            return _longrope(plain, scaling, length)
    raise MalformedFileError(
        f"The model scales its rotary positions by {kind!r}, which is not known here.",
        hint="Known are default, linear, dynamic, llama3, yarn, longrope and factors.",
    )


def _plain(rotated: int, theta: float) -> Tensor:
    return 1.0 / theta ** (torch.arange(0, rotated, 2, dtype=torch.float32) / rotated)


def _dynamic(rotated: int, theta: float, scaling: Mapping[str, Any], length: int) -> Tensor:
    """Beyond the original length, a larger base ("NTK-aware", by the users bloc97 and emozilla)."""
    factor, original = float(scaling["factor"]), float(scaling[_ORIGINAL])
    stretch = factor * max(length, original) / original - (factor - 1)
    return _plain(rotated, theta * stretch ** (rotated / (rotated - 2)))


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are stretched, short ones kept, with a ramp between."""
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    turns = float(scaling[_ORIGINAL]) * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / factor)


def _yarn(plain: Tensor, rotated: int, theta: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """YaRN (Peng et al., 2023, arXiv 2309.00071): interpolate by wavelength, and sharpen attention a little."""
    factor = float(scaling["factor"])
    original = float(scaling[_ORIGINAL])

    def dimension(turns: float) -> float:
        return rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    def sharpened(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    low = dimension(float(scaling.get("beta_fast") or 32))
    high = dimension(float(scaling.get("beta_slow") or 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    ramp = ((torch.arange(rotated // 2, dtype=torch.float32) - low) / (high - low or 0.001)).clamp(0, 1)
    magnitude = scaling.get("attention_factor")
    if magnitude is None:
        part, whole = scaling.get("mscale"), scaling.get("mscale_all_dim")
        magnitude = sharpened(part) / sharpened(whole) if part and whole else sharpened(1.0)
    return plain * (1 - ramp) + plain / factor * ramp, float(magnitude)


def _longrope(plain: Tensor, scaling: Mapping[str, Any], length: int) -> tuple[Tensor, float]:
    """LongRoPE (Ding et al., 2024, arXiv 2402.13753): factors found by search, for within and beyond."""
    factor, original = float(scaling["factor"]), float(scaling[_ORIGINAL])
    factors = torch.tensor(scaling["long_factor" if length > original else "short_factor"], dtype=torch.float32)
    magnitude = scaling.get("attention_factor")
    if magnitude is None:
        magnitude = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return plain / factors, float(magnitude)


_ORIGINAL = "original_max_position_embeddings"
