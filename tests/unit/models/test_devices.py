"""Devices by name, and the processor's cores."""

from __future__ import annotations

import os

import pytest
import torch

from openhearth.errors import ConfigError
from openhearth.models import devices
from openhearth.models.devices import choose_device, physical_cores

_PRESENT = str(torch.accelerator.current_accelerator())
ABSENT = next(name for name in ("cuda", "xpu", "mps") if not _PRESENT.startswith(name))


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_the_accelerator_or_the_cpu() -> None:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    assert choose_device("auto") == (accelerator or torch.device("cpu"))


@pytest.mark.parametrize("name", [ABSENT, f"{ABSENT}:1", "abacus", "cpu:x", ""])
def test_what_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_device(name)
    assert repr(name) in caught.value.message
    assert "cpu" in caught.value.hint


def test_cores_are_at_most_what_may_be_used() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_two_threads_of_a_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(devices, "_core", lambda cpu: ("0", str(cpu // 2)))
    assert physical_cores() == 2
    monkeypatch.setattr(devices, "_core", lambda cpu: None)
    assert physical_cores() == 4
