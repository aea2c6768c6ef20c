"""Memory of the machine, of a container, and where nobody tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from openhearth.models import device_memory
from openhearth.models.device_memory import Memory, memory_of

CPU = torch.device("cpu")
MEMINFO = "MemTotal:  16000000 kB\nMemFree:  1000000 kB\nMemAvailable:  9000000 kB\nHugePages_Total:  0\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 GB with 9 GB free, and a control group without a limit."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "current").write_text("5000000000\n")
    monkeypatch.setattr(device_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(device_memory, "_CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
    return tmp_path


def test_the_machines_memory() -> None:
    assert memory_of(CPU) == Memory(9_000_000 << 10, 16_000_000 << 10)


@pytest.mark.parametrize(("limit", "free"), [(8_000_000_000, 3_000_000_000), (4_000_000_000, 0)])
def test_a_containers_limit_counts(machine: Path, limit: int, free: int) -> None:
    (machine / "max").write_text(f"{limit}\n")
    assert memory_of(CPU) == Memory(free, limit)


def test_a_limit_beyond_the_machine_does_not(machine: Path) -> None:
    (machine / "max").write_text(f"{1 << 62}\n")
    assert memory_of(CPU).total == 16_000_000 << 10


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemTotal\nMemAvailable: x kB\n"])
def test_where_linux_does_not_tell_posix_does(machine: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (machine / "meminfo").write_text(text)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert memory_of(CPU) == Memory(2048 * 1000, 4096 * 1000)


def test_where_nobody_tells_something_is_assumed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "meminfo").unlink()
    monkeypatch.delattr(os, "sysconf")
    assert memory_of(CPU).total == 8 << 30


def test_a_device_that_does_not_tell_shares_the_machines() -> None:
    assert memory_of(torch.device("meta")) == memory_of(CPU)
