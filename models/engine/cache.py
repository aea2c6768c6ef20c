"""Key-value caches, one per conversation: who may use which, what of it can be kept, and which goes first."""

from __future__ import annotations

from collections.abc import Sequence

from openhearth.models.layers.paged import BLOCK, KVStore


class SequenceCache:
    """The blocks of one token sequence. `tokens[:length]` are the ids whose keys and values are filled in."""

    def __init__(self, blocks: range) -> None:
        self.length = 0
        self.tokens: list[int] = []
        self.key: str | None = None
        self.used = 0
        self.busy = False
        self.blocks = blocks

    def truncate(self, length: int) -> None:
        """Forget what stands behind the first `length` tokens."""
        self.length = min(self.length, length)
        del self.tokens[self.length :]

    def common_prefix(self, prompt: Sequence[int]) -> int:
        """How many of the filled tokens begin `prompt`."""
        limit = min(self.length, len(prompt))
        for index in range(limit):
            if self.tokens[index] != prompt[index]:
                return index
        return limit


class CachePool:
    """At most `size` caches, which share the blocks of `kv`.

    The least recently used one makes room; a busy one is never touched.
    """

    def __init__(self, kv: KVStore, size: int) -> None:
        self.kv, self._size = kv, size
        self._each = kv.blocks // size
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
            self._copy_prefix(best, entry, length)
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
            first = len(self._entries) * self._each
            entry = SequenceCache(range(first, first + self._each))
            self._entries.append(entry)
            return entry
        return min(free, key=lambda e: (e is best, e.used))

    def _copy_prefix(self, source: SequenceCache, target: SequenceCache, length: int) -> None:
        for index in range(-(-length // BLOCK)):
            self.kv.copy_block(source.blocks[index], target.blocks[index])
        target.length = length
        target.tokens = source.tokens[:length]
