"""Server-sent events: the payloads of a byte stream, by the rules of the HTML standard that matter here."""

from __future__ import annotations

from collections.abc import AsyncIterator

from openhearth.errors import RemoteModelError

_MAX_EVENT = 16 * 1024 * 1024


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The `data` of each event. Comments and other fields are skipped; an event that is not complete is dropped.

    Raises RemoteModelError for text that is not UTF-8 and for an event without end.
    """
    buffer = b""
    data: list[str] = []
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) > _MAX_EVENT:
            raise RemoteModelError("The server sent an event without end.")
        # Lines end with LF or CRLF only: JSON may hold any other separator that Unicode knows.
        *lines, buffer = buffer.split(b"\n")
        for raw in lines:
            line = _decoded(raw.removesuffix(b"\r"))
            if line.startswith("data:"):
                data.append(line.removeprefix("data:").removeprefix(" "))
            elif not line and data:
                yield "\n".join(data)
                data = []
    if data and not buffer:
        # Some servers leave out the last blank line.
        yield "\n".join(data)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RemoteModelError("The server sent text that is not UTF-8.") from error
