"""Where models run: the torch device, and how many threads of the processor."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from openhearth.errors import ConfigError

_TOPOLOGY = Path("/sys/devices/system/cpu")


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name` (`cpu`, `cuda:0`, `mps`, …), or for `auto` the accelerator that torch finds, else the
    CPU. Raises ConfigError for a device that is not there."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"{name!r} names no torch device.", hint=_on_offer(accelerator)) from error
    if device.type == "cpu":
        return torch.device("cpu")
    if accelerator is None or device.type != accelerator.type:
        raise ConfigError(f"The device {name!r} is not available.", hint=_on_offer(accelerator))
    if device.index is not None and device.index >= torch.accelerator.device_count():
        raise ConfigError(
            f"There is no {name!r}: {torch.accelerator.device_count()} of its kind exist.", hint=_on_offer(accelerator)
        )
    return device


def physical_cores() -> int:
    """Physical cores that this process may use. Two threads on one core would share the units that do the work."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    cores = {_core(cpu) for cpu in usable}
    return len(usable) if None in cores else max(len(cores), 1)


def _core(cpu: int) -> tuple[str, str] | None:
    folder = _TOPOLOGY / f"cpu{cpu}" / "topology"
    try:
        return (folder / "physical_package_id").read_text(), (folder / "core_id").read_text()
    except OSError:
        return None


def _on_offer(accelerator: torch.device | None) -> str:
    names = ["auto", "cpu", *([accelerator.type] if accelerator else [])]
    return f"Set model.device to one of: {', '.join(names)}."
