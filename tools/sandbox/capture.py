"""Keeping the head and the tail of a stream of any length."""

from __future__ import annotations

from openhearth.tools.text import strip_escapes


class Capture:
    """Takes bytes without end and keeps at most `limit` of them: the first half, and the last."""

    def __init__(self, limit: int) -> None:
        self._room = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    @property
    def truncated(self) -> bool:
        return self.total > len(self._head) + min(len(self._tail), self._tail_limit)

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        if self._room:
            self._head += data[: self._room]
            data, self._room = data[self._room :], max(0, self._room - len(data))
        self._tail += data[-self._tail_limit :] if self._tail_limit else b""
        # Cut rarely: cutting at every piece would copy the whole tail each time.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit or None]

    def text(self) -> str:
        """What was kept, decoded and stripped of escapes, with a note where something is missing."""
        tail = bytes(self._tail[-self._tail_limit :]) if self._tail_limit else b""
        missing = self.total - len(self._head) - len(tail)
        if not missing:
            return strip_escapes((bytes(self._head) + tail).decode("utf-8", "replace"))
        head, tail_text = (strip_escapes(part.decode("utf-8", "replace")) for part in (bytes(self._head), tail))
        return f"{head}\n[… {missing:,} bytes left out …]\n{tail_text}"
