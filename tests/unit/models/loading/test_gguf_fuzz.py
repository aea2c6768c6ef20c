"""A damaged file is an error, whatever the damage: never a crash, never memory beyond what its size justifies."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.gguf import GgufFile

EXTREMES = [0, 1, 7, 0x7F, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
MEMORY_BASE = 256 * 1024
MEMORY_PER_BYTE = 64
"""Python's objects for the smallest strings and arrays are this much larger than what the file spends on them."""


def read_all(content: bytes) -> None:
    """Open and read everything. MalformedFileError, or ModelUnavailableError for another version or type, may come."""
    with tempfile.NamedTemporaryFile(suffix=".gguf") as temporary:
        temporary.write(content)
        temporary.flush()
        tracemalloc.start()
        try:
            with GgufFile(Path(temporary.name)) as file:
                for name in file.tensors:
                    assert file.load(name).shape == file.tensors[name].shape
        except (MalformedFileError, ModelUnavailableError):
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < MEMORY_BASE + MEMORY_PER_BYTE * len(content)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_truncated(valid_gguf_bytes: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(valid_gguf_bytes) - 1))
    read_all(valid_gguf_bytes[:length])


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_bytes_replaced(valid_gguf_bytes: bytes, data: st.DataObject) -> None:
    content = bytearray(valid_gguf_bytes)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(content))


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_numbers_replaced_by_extremes(valid_gguf_bytes: bytes, data: st.DataObject) -> None:
    content = bytearray(valid_gguf_bytes)
    width = data.draw(st.sampled_from([4, 8]))
    at = data.draw(st.integers(4, len(content) - width))
    content[at : at + width] = (data.draw(st.sampled_from(EXTREMES)) % (1 << 8 * width)).to_bytes(width, "little")
    read_all(bytes(content))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_slices_removed_and_repeated(valid_gguf_bytes: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(4, len(valid_gguf_bytes)))
    end = data.draw(st.integers(start, len(valid_gguf_bytes)))
    times = data.draw(st.sampled_from([0, 2, 50]))
    read_all(valid_gguf_bytes[:start] + valid_gguf_bytes[start:end] * times + valid_gguf_bytes[end:])


@settings(deadline=None, max_examples=200)
@given(tail=st.binary(max_size=300), version=st.sampled_from([2, 3]))
def test_noise_after_the_version(tail: bytes, version: int) -> None:
    read_all(b"GGUF" + version.to_bytes(4, "little") + tail)
