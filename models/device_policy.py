"""How each kind of device is used: in which floating type it computes, and keeps keys and values.

    device                                weights of `bfloat16` and `int8` stores        keys and values
    CPU, x86                              bfloat16; int8 kernels                         float32
    CPU, other                            bfloat16; int8 unpacked to bfloat16            float32
    CUDA, ROCm, XPU, other accelerators   bfloat16 where the hardware has it,            the same
                                          else float16, else float32
    MPS                                   bfloat16 where it works, else float32          the same

`float32` stores are computed in float32 everywhere, and so are the residual stream, norms and rotations. A type counts
as working when a small product comes out right in it, which is tried on the device itself.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_MOST_WRONG = 0.02
"""Of the largest result, in the product that is tried. Where it works, bfloat16 is off by 0.003."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What decides. `kind` is `cpu`, `cuda`, `rocm`, `mps`, `xpu` or torch's name for another device; `name` is the
    maker's. `halves` are the 16-bit types that work and are worth using; `int8` says that FBGEMM's kernels exist."""

    kind: str
    name: str
    halves: frozenset[torch.dtype] = frozenset()
    int8: bool = False


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """`half` is what 16-bit and unpacked weights are computed in, `cache` what keys and values are kept in by the
    torch path; `int8` says whether int8 weights are computed with as they are."""

    half: torch.dtype
    cache: torch.dtype
    int8: bool


def policy_for(facts: DeviceFacts) -> DevicePolicy:
    """The policy of the table above."""
    wanted = (torch.bfloat16,) if facts.kind == "mps" else (torch.bfloat16, torch.float16)
    half = next((dtype for dtype in wanted if dtype in facts.halves), torch.float32)
    return DevicePolicy(half, torch.float32 if facts.kind == "cpu" else half, facts.kind == "cpu" and facts.int8)


@cache
def device_policy(device: torch.device) -> DevicePolicy:
    """The policy of a device that is here."""
    return policy_for(device_facts(device))


def place_weight(weight: Tensor, device: torch.device) -> Tensor:
    """A floating weight on `device`; bfloat16 becomes what the device computes in its stead."""
    return weight.to(device, device_policy(device).half if weight.dtype is torch.bfloat16 else weight.dtype)


def device_facts(device: torch.device) -> DeviceFacts:
    """Ask the device, and try it."""
    if device.type == "cpu":
        int8 = "fbgemm" in torch.backends.quantized.supported_engines
        return DeviceFacts("cpu", platform.machine(), frozenset({torch.bfloat16}), int8)
    worth = {torch.bfloat16, torch.float16}
    kind, name = device.type, device.type
    if device.type == "cuda":
        kind = "rocm" if torch.version.hip else "cuda"
        name = torch.cuda.get_device_name(device)
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                worth.remove(torch.bfloat16)
    elif device.type == "xpu":
        name = torch.xpu.get_device_name(device)
    return DeviceFacts(kind, name, frozenset(dtype for dtype in worth if computes(device, dtype)))


@torch.inference_mode()
def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a product of two matrices comes out right on `device` in `dtype`."""
    left = torch.linspace(-1, 1, 8 * 64).view(8, 64)
    right = torch.linspace(1, -0.5, 64 * 16).view(64, 16).sin()
    expected = left @ right
    try:
        found = (left.to(device, dtype) @ right.to(device, dtype)).float().cpu()
    except (RuntimeError, TypeError, NotImplementedError):  # what torch raises for a dtype that a device lacks
        return False
    return bool((found - expected).abs().max() <= _MOST_WRONG * expected.abs().max())
