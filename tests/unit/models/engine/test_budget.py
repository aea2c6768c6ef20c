"""How many blocks a budget buys."""

from __future__ import annotations

import torch

from openhearth.models.device_memory import memory_of
from openhearth.models.engine.budget import cache_blocks

CPU = torch.device("cpu")


def test_what_is_asked_for_is_kept() -> None:
    assert cache_blocks(10, 1 << 20, 4096, CPU) == 10
    assert cache_blocks(1, 3 << 20, 4096, CPU) == 1


def test_the_machine_decides_else_but_one_context_always_fits() -> None:
    budget = cache_blocks(None, 1 << 20, 32, CPU) << 20
    assert budget <= min(memory_of(CPU).total / 8, 4 << 30)
    assert budget > memory_of(CPU).total / 8 - (1 << 20) or budget == 4 << 30
    assert cache_blocks(None, 1 << 40, 8192, CPU) == 256
