"""Key-value caches, one per conversation: who may use which, what of it can be kept, and which goes first."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from openhearth.models.architectures.decoder import LayerCache
from openhearth.models.loading.config import DecoderConfig

_CHUNK = 512
"""Tokens by which a cache grows."""


class SequenceCache:
    """Keys and values of one token sequence, float32 [layers, 2, kv_heads, capacity, head_dim].

    `tokens[:length]` are the ids whose keys and values are filled in.
    """

    def __init__(self, config: DecoderConfig, context: int, device: torch.device) -> None:
        self.length = 0
        self.tokens: list[int] = []
        self.key: str | None = None
        self.used = 0
        self.busy = False
        self._context = context
        self._data = torch.empty(config.layers, 2, config.kv_heads, 0, config.head_dim, device=device)

    def views(self, end: int) -> Sequence[LayerCache]:
        """See `architectures.decoder.Cache`."""
        self._reserve(end)
        new = self._data[:, :, :, self.length : end].permute(0, 3, 1, 2, 4).unbind(0)
        seen = self._data[:, :, None, :, :end]
        return [LayerCache(*parts) for parts in zip(new, seen[:, 0].unbind(0), seen[:, 1].unbind(0), strict=True)]

    def truncate(self, length: int) -> None:
        """Forget what stands behind the first `length` tokens."""
        self.length = min(self.length, length)
        del self.tokens[self.length :]

    def copy_prefix(self, other: SequenceCache, length: int) -> None:
        """Become the first `length` tokens of `other`."""
        self.length = 0
        self._reserve(length)
        self._data[:, :, :, :length] = other._data[:, :, :, :length]
        self.length = length
        self.tokens = other.tokens[:length]

    def common_prefix(self, prompt: Sequence[int]) -> int:
        """How many of the filled tokens begin `prompt`."""
        limit = min(self.length, len(prompt))
        for index in range(limit):
            if self.tokens[index] != prompt[index]:
                return index
        return limit

    def _reserve(self, length: int) -> None:
        layers, two, heads, capacity, dim = self._data.shape
        if length <= capacity:
            return
        capacity = max(min(-(-length // _CHUNK) * _CHUNK, self._context), length)
        grown = self._data.new_empty(layers, two, heads, capacity, dim)
        grown[:, :, :, : self.length] = self._data[:, :, :, : self.length]
        self._data = grown


class CachePool:
    """At most `size` caches. The least recently used one makes room; a busy one is never touched."""

    def __init__(self, config: DecoderConfig, size: int, context: int, device: torch.device) -> None:
        self._config, self._size, self._context, self._device = config, size, context, device
        self._entries: list[SequenceCache] = []
        self._clock = 0

    def acquire(self, prompt: Sequence[int], key: str | None) -> SequenceCache:
        """A cache that holds the longest known beginning of `prompt`, always short of its last token.

        That last token must run, or there would be nothing to sample from. Another conversation's cache is copied
        from, not cut short. At most `size` caches may be in use at once.
        """
        most = len(prompt) - 1
        shared = {id(entry): min(entry.common_prefix(prompt), most) for entry in self._entries}
        best = max(self._entries, key=lambda e: (shared[id(e)], e.key == key, e.used), default=None)
        length = shared[id(best)] if best is not None else 0
        entry = self._own(best, length, key)
        if best is not None and entry is not best and shared.get(id(entry), 0) < length:
            entry.copy_prefix(best, length)
        else:
            entry.truncate(shared.get(id(entry), 0))
        entry.key, entry.busy = key, True
        return entry

    def release(self, entry: SequenceCache) -> None:
        self._clock += 1
        entry.used, entry.busy = self._clock, False

    def clear(self) -> None:
        self._entries.clear()

    def _own(self, best: SequenceCache | None, length: int, key: str | None) -> SequenceCache:
        """The entry to work in: this conversation's, or one that `prompt` merely continues, or a free one."""
        free = [entry for entry in self._entries if not entry.busy]
        if key is not None:
            for entry in free:
                if entry.key == key:
                    return entry
        if best in free and best is not None and length and length >= best.length - 1 and key in (None, best.key):
            return best
        if len(self._entries) < self._size:
            entry = SequenceCache(self._config, self._context, self._device)
            self._entries.append(entry)
            return entry
        return min(free, key=lambda e: (e is best, e.used))
