"""Reading and writing safetensors files.

    u64 header length · header: JSON, {name: {"dtype", "shape", "data_offsets"}, "__metadata__": {text: text}} · data

The format's own rules are all enforced on reading: the header is at most 100 MB, begins with `{`, repeats no name, and
its tensors cover the data from first to last byte without holes or overlap. What breaks them is a MalformedFileError.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self

import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.mapping import close_map, map_file

MAX_HEADER_BYTES = 100_000_000
DATA_ALIGNMENT = 64
METADATA_KEY = "__metadata__"

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_UNREADABLE = frozenset({"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies; `offset` counts from the start of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    size: int


class SafetensorsFile:
    """An open safetensors file. Use it as a context manager, or `close` it."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises MalformedFileError; ModelUnavailableError for a dtype that torch cannot hold."""
        self.path = path
        self._map = map_file(path)
        try:
            self.tensors, self.metadata = _read_header(path, self._map)
        except BaseException:
            close_map(self._map)
            raise

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor on the file's own memory: nothing is read before it is used, and it outlives `close`.

        Writing to it changes a private copy. A tensor that is not aligned for its dtype is copied.
        """
        entry = self.tensors[name]
        if entry.size == 0:
            return torch.empty(entry.shape, dtype=entry.dtype)
        # The view keeps the map from being unmapped under the tensor: frombuffer itself only holds a reference.
        raw = torch.frombuffer(memoryview(self._map), dtype=torch.uint8, count=entry.size, offset=entry.offset)
        if raw.data_ptr() % entry.dtype.itemsize:
            raw = raw.clone()
        return raw.view(entry.dtype).view(entry.shape)

    def close(self) -> None:
        close_map(self._map)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def write_safetensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
    metadata: Mapping[str, str] | None = None,
    *,
    header_space: int = 1 << 20,
) -> None:
    """Write a file from tensors or from a stream of them, one in memory at a time, and flush it to the disk.

    The header stands before the data but is known after them, so `header_space` bytes are kept free for it: a
    thousand tensors take some 130 kB. Raises ValueError when they do not suffice, or for a repeated name. After an
    error no file is left.
    """
    pairs = tensors.items() if isinstance(tensors, Mapping) else tensors
    start = -(-(_LENGTH.size + header_space) // DATA_ALIGNMENT) * DATA_ALIGNMENT
    header: dict[str, Any] = {METADATA_KEY: dict(metadata)} if metadata else {}
    try:
        with path.open("wb") as file:
            file.seek(start)
            at = 0
            for name, tensor in pairs:
                if name in header or name == METADATA_KEY:
                    raise ValueError(f"The tensor name {name!r} is taken.")
                size = _write_tensor(file, tensor)
                header[name] = {
                    "dtype": _NAMES[tensor.dtype],
                    "shape": list(tensor.shape),
                    "data_offsets": [at, at + size],
                }
                at += size
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            space = start - _LENGTH.size
            if len(text) > space:
                raise ValueError(f"The header takes {len(text)} bytes, header_space leaves {space}.")
            file.seek(0)
            file.write(_LENGTH.pack(space) + text.ljust(space))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_tensor(file: BinaryIO, tensor: torch.Tensor) -> int:
    flat = tensor.detach().cpu().contiguous().view(-1)
    if flat.numel():
        file.write(flat.view(torch.uint8).numpy().data)
    return flat.numel() * flat.element_size()


def _read_header(path: Path, data: Any) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    def fail(problem: str) -> NoReturn:
        raise MalformedFileError(f"{path}: {problem}.", hint="Fetch the file again.")

    if len(data) < _LENGTH.size:
        fail(f"{len(data)} bytes are no safetensors file")
    (length,) = _LENGTH.unpack_from(data)
    if length > min(MAX_HEADER_BYTES, len(data) - _LENGTH.size):
        fail(f"the header would take {length} bytes of a file of {len(data)}")
    start = _LENGTH.size + length
    text = data[_LENGTH.size : start]
    if text[:1] != b"{":
        fail("the header does not begin with an opening brace")
    try:
        header = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        fail(f"the header is not valid JSON ({error})")
    metadata = header.pop(METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        fail(f"{METADATA_KEY} does not map text to text")
    entries = {name: _entry(path, name, entry, start, fail) for name, entry in header.items()}
    end = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.offset != end:
            fail(f"the tensor {name!r} begins at byte {entry.offset}, the one before it ends at {end}")
        end += entry.size
    if end != len(data):
        fail(f"the tensors end at byte {end}, the file at {len(data)}")
    return entries, metadata


def _entry(path: Path, name: str, entry: Any, start: int, fail: Any) -> TensorEntry:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        fail(f"the entry of {name!r} is not dtype, shape and data_offsets")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not _naturals(shape):
        fail(f"the shape of {name!r} is {_short(shape)}")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        fail(f"the offsets of {name!r} are {_short(offsets)}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        if isinstance(dtype, str) and dtype in _UNREADABLE:
            raise ModelUnavailableError(
                f"{path}: {name!r} is of dtype {dtype}, which is not supported.",
                hint="Fetch the model in bfloat16, float16 or float32.",
            )
        fail(f"the dtype of {name!r} is {_short(dtype)}")
    size = prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != size:
        fail(f"{name!r} spans {offsets[1] - offsets[0]} bytes, its shape and dtype take {size}")
    return TensorEntry(DTYPES[dtype], tuple(shape), start + offsets[0], size)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values) and len(values) <= 64


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name is repeated")
    return entries
