"""Which block of the key-value store is held by whom.

A block may have several holders: each sequence that reads it, and the prefix tree where it remembers it. Without any it
is free. Blocks of one sequence should lie in a row, because only then does attention read them in place.
"""

from __future__ import annotations


class BlockPool:
    """Counts holders. `free` blocks have none; `idle` ones are held by the prefix tree alone, and could be free."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self.idle = 0
        self._holders = [0] * size
        self._kept = bytearray(size)
        """1 where the prefix tree is one of the holders."""
        self._unheld = bytearray(b"\1" * size)

    def take(self, after: int | None, room: int) -> int:
        """A free block, now held once: the one behind `after`, or else one that begins a run of `room` free blocks, or
        as long a run as there is. At least one must be free."""
        if after is not None and after + 1 < self.size and self._unheld[after + 1]:
            block = after + 1
        else:
            block = self._run(room)
        self._unheld[block] = 0
        self._holders[block] = 1
        self.free -= 1
        return block

    def hold(self, block: int) -> None:
        """One more holder of a block that has one."""
        if self._kept[block] and self._holders[block] == 1:
            self.idle -= 1
        self._holders[block] += 1

    def drop(self, block: int) -> None:
        """One holder less."""
        self._holders[block] -= 1
        if self._holders[block] == 0:
            self._unheld[block] = 1
            self.free += 1
        elif self._kept[block] and self._holders[block] == 1:
            self.idle += 1

    def keep(self, block: int) -> None:
        """The prefix tree becomes a holder of a block that somebody holds."""
        self._kept[block] = 1
        self._holders[block] += 1

    def forget(self, block: int) -> None:
        """The prefix tree no longer is one."""
        if self._holders[block] == 1:
            self.idle -= 1
        self._kept[block] = 0
        self.drop(block)

    def holders(self, block: int) -> int:
        return self._holders[block]

    def kept(self, block: int) -> bool:
        """Whether the prefix tree is a holder."""
        return bool(self._kept[block])

    def _run(self, room: int) -> int:
        room = min(max(room, 1), self.size)
        while (start := self._unheld.find(b"\1" * room)) < 0:
            room = -(-room // 2)
            if room == 1:
                return self._unheld.index(1)
        return start
