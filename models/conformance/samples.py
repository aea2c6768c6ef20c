"""Random weights of every kind that the engine computes with, and what numbers they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openhearth.models.device_policy import device_policy
from openhearth.models.layers.linear import LinearKind, needs_narrow_activations
from openhearth.models.layers.quantise import dequantise_rows, quantise_rows

FLOAT_KINDS: tuple[LinearKind, ...] = ("float32", "bfloat16")
INT8_KINDS: tuple[LinearKind, ...] = ("int8", "int8-wide")


@dataclass(frozen=True, slots=True)
class Sample:
    """A weight as a store holds it, by what follows the dot of its name, and the float32 matrix [out, in] it means."""

    kind: LinearKind
    stored: dict[str, Tensor]
    meant: Tensor


def sample_weight(kind: LinearKind, outputs: int, inputs: int, generator: torch.Generator) -> Sample:
    """A weight whose results are about as large as its inputs."""
    weight = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
    if kind in INT8_KINDS:
        quantised, scale = quantise_rows(weight)
        return Sample(kind, {"weight": quantised, "scale": scale}, dequantise_rows(quantised, scale))
    stored = weight.to(torch.bfloat16 if kind == "bfloat16" else torch.float32)
    return Sample(kind, {"weight": stored}, stored.float())


def arithmetic(kind: LinearKind, device: torch.device) -> str:
    """What a linear of `kind` computes in on `device`: a key of `verdict.TOLERANCES`."""
    policy = device_policy(device)
    if kind == "float32":
        return kind
    if kind in INT8_KINDS and policy.int8:
        return "int8, 7-bit activations" if kind == "int8" and needs_narrow_activations() else kind
    return str(policy.half).removeprefix("torch.")
