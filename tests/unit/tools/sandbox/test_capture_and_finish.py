"""Output of any length is kept within its limit; work that must end does, whoever cancels."""

from __future__ import annotations

import asyncio

import pytest

from openhearth.tools.sandbox.capture import Capture
from openhearth.tools.sandbox.finish import finish


def test_short_output_is_kept_whole() -> None:
    capture = Capture(10)
    for piece in (b"abc", b"", b"defghij"):
        capture.feed(piece)
    assert capture.text() == "abcdefghij"
    assert not capture.truncated


@pytest.mark.parametrize("piece", [1, 7, 64, 1_000])
def test_long_output_keeps_both_ends(piece: int) -> None:
    data = "".join(f"{number:05d}\n" for number in range(1_000)).encode()
    capture = Capture(60)
    for at in range(0, len(data), piece):
        capture.feed(data[at : at + piece])
        assert len(capture._head) + len(capture._tail) <= 60 + 60 + 1_000
    assert capture.truncated
    assert capture.total == len(data)
    assert capture.text() == (
        "00000\n00001\n00002\n00003\n00004\n\n[… 5,940 bytes left out …]\n00995\n00996\n00997\n00998\n00999\n"
    )


def test_output_is_cleaned_and_decoded() -> None:
    capture = Capture(100)
    capture.feed(b"\x1b[31mred\x1b[0m \xff\xc3\xa9")
    assert capture.text() == "red �é"


def test_no_room_at_all() -> None:
    capture = Capture(0)
    capture.feed(b"abc")
    assert capture.truncated
    assert "3 bytes left out" in capture.text()


async def test_finish_gives_the_result_and_the_error() -> None:
    async def give() -> int:
        return 3

    async def fail() -> int:
        raise ValueError("no")

    assert await finish(give()) == 3
    with pytest.raises(ValueError, match="no"):
        await finish(fail())


async def test_finish_outlasts_cancellations_and_then_raises_them() -> None:
    done = False
    release = asyncio.Event()

    async def work() -> None:
        nonlocal done
        await release.wait()
        done = True

    task = asyncio.create_task(finish(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done
