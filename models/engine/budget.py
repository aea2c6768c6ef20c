"""How much memory keys and values may take."""

from __future__ import annotations

import torch

from openhearth.models.device_memory import memory_of
from openhearth.models.engine.cache import blocks_for

_SHARE = 1 / 8
_MOST = 4 << 30
_SHARE_OF_DEVICE = 1 / 2


def cache_blocks(cache_mb: int | None, block_bytes: int, context: int, device: torch.device) -> int:
    """Blocks of `block_bytes` for a budget of `cache_mb` MiB.

    None means an eighth of this machine's memory, but no more than 4 GiB, or half of what is free on another device;
    and in any case as much as one text of `context` tokens takes. A smaller budget that is asked for is kept, down to
    one block: the context is then cut to it.
    """
    if cache_mb is not None:
        return max((cache_mb << 20) // block_bytes, 1)
    memory = memory_of(device)
    cpu = device.type == "cpu"
    budget = min(int(memory.total * _SHARE), _MOST) if cpu else int(memory.free * _SHARE_OF_DEVICE)
    return max(budget // block_bytes, blocks_for(context))
