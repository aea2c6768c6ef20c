"""Reading GGUF files, versions 2 and 3, little-endian.

    magic "GGUF" · u32 version · u64 tensor count · u64 metadata count
    metadata: key · u32 type · value        (a string is u64 length + UTF-8; an array is u32 type · u64 count · items)
    tensors:  name · u32 dimensions · u64 sizes, the innermost first · u32 type · u64 offset into the data
    padding to the alignment · data

Nothing in the file is believed: every count, size and offset is checked against the file's length before anything is
allocated or read: a damaged or hostile file ends in MalformedFileError and costs no more memory than its size allows.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.dequantise import dequantise
from openhearth.models.loading.ggml_types import BLOCK_SIZES, UNREADABLE_TYPES, GgmlType
from openhearth.models.loading.mapping import close_map, map_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 65_535
MAX_ARRAY_DEPTH = 4

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS: dict[int, str] = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "|b1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_BOOL, _STRING, _ARRAY = 7, 8, 9
# The fewest bytes that an item of an array can take: an empty string is its length, an empty array its type and count.
_SMALLEST = {kind: np.dtype(code).itemsize for kind, code in _SCALARS.items()} | {_STRING: 8, _ARRAY: 12}
_SMALLEST_PAIR = 8 + 4 + 1
_SMALLEST_TENSOR = 8 + 4 + 4 + 8

MetadataValue = int | float | bool | str | list[str] | list[Any] | np.ndarray[Any, np.dtype[Any]]
"""Arrays of numbers are numpy arrays, arrays of strings or of arrays are lists."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor lies. `shape` is outermost first, `offset` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    offset: int
    size: int


class GgufFile:
    """An open GGUF file. Use it as a context manager, or `close` it."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises MalformedFileError; ModelUnavailableError for what is valid but not supported."""
        self.path = path
        self._map = map_file(path)
        try:
            header = _Header(path, self._map)
            self.version = header.version
            self.metadata: Mapping[str, MetadataValue] = header.metadata
            self.tensors: Mapping[str, GgufTensor] = header.tensors
        except BaseException:
            close_map(self._map)
            raise

    def load(self, name: str) -> torch.Tensor:
        """The tensor as float32, in memory of its own."""
        tensor = self.tensors[name]
        return torch.from_numpy(dequantise(self.raw(name), tensor.type)).view(tensor.shape)

    def raw(self, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The tensor's bytes, in the file's own memory: read them before it is closed."""
        tensor = self.tensors[name]
        return np.frombuffer(self._map, np.uint8, count=tensor.size, offset=tensor.offset)

    def close(self) -> None:
        close_map(self._map)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Header:
    """Parses everything before the data, front to back; `_at` is the next byte."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._size = len(data)
        self._at = 0
        self.version = self._read_version()
        tensor_count = self._u64("the tensor count")
        pair_count = self._u64("the metadata count")
        self._need(pair_count * _SMALLEST_PAIR + tensor_count * _SMALLEST_TENSOR, "what the counts announce")
        self.metadata = self._read_metadata(pair_count)
        self.tensors = self._read_tensors(tensor_count, self._alignment())

    def _read_version(self) -> int:
        self._need(8, "the magic and the version")
        if self._data[:4] != MAGIC:
            self._fail("the file does not begin with GGUF", hint="Name a .gguf file, or fetch it again.")
        self._at = 4
        version = self._u32("the version")
        if version not in VERSIONS:
            if version & 0xFFFF == 0 and version:
                raise ModelUnavailableError(
                    f"{self._path} is a big-endian GGUF file.", hint="Fetch the little-endian file of this model."
                )
            if version > VERSIONS[-1] or version == 1:
                raise ModelUnavailableError(
                    f"{self._path} is GGUF version {version}; versions 2 and 3 can be read.",
                    hint="Fetch or convert the model in version 3.",
                )
            self._fail(f"version {version} does not exist")
        return version

    def _read_metadata(self, count: int) -> dict[str, MetadataValue]:
        metadata: dict[str, MetadataValue] = {}
        for index in range(count):
            key = self._name(f"the key of metadata pair {index}")
            if key in metadata:
                self._fail(f"the key {key!r} occurs twice")
            metadata[key] = self._value(self._u32(f"the type of {key!r}"), key, depth=0)
        return metadata

    def _value(self, kind: int, key: str, depth: int) -> MetadataValue:
        if kind == _STRING:
            return self._strings(1, key)[0]
        if kind == _ARRAY:
            return self._array(key, depth)
        if kind not in _SCALARS:
            self._fail(f"{key!r} has the unknown value type {kind}")
        value: MetadataValue = self._numbers(kind, 1, key)[0].item()
        return value

    def _array(self, key: str, depth: int) -> MetadataValue:
        if depth == MAX_ARRAY_DEPTH:
            self._fail(f"{key!r} nests arrays deeper than {MAX_ARRAY_DEPTH}")
        kind = self._u32(f"the item type of {key!r}")
        count = self._u64(f"the length of {key!r}")
        if kind not in _SMALLEST:
            self._fail(f"{key!r} has the unknown item type {kind}")
        self._need(count * _SMALLEST[kind], f"the {count} items of {key!r}")
        if kind == _STRING:
            return self._strings(count, key)
        if kind == _ARRAY:
            return [self._array(key, depth + 1) for _ in range(count)]
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> np.ndarray[Any, np.dtype[Any]]:
        dtype = np.dtype(_SCALARS[kind])
        size = count * dtype.itemsize
        self._need(size, f"the value of {key!r}")
        # Copied, so that no view keeps the map from being closed.
        raw = np.frombuffer(self._data[self._at : self._at + size], np.uint8)
        if kind == _BOOL and (raw > 1).any():
            self._fail(f"{key!r} holds a truth value other than 0 and 1")
        self._at += size
        return raw.view(dtype)

    def _strings(self, count: int, key: str) -> list[str]:
        # A vocabulary has hundreds of thousands of these: local names and no calls but the two that are needed.
        data, size, at, unpack = self._data, self._size, self._at, _U64.unpack_from
        strings: list[str] = []
        append = strings.append
        try:
            for _ in range(count):
                start = at + 8
                at = start + unpack(data, at)[0]
                if at > size:
                    self._at = start
                    self._fail(f"string {len(strings)} of {key!r} ends beyond the file")
                append(str(data[start:at], "utf-8"))
        except struct.error:
            self._at = at
            self._fail(f"string {len(strings)} of {key!r} begins beyond the file")
        except UnicodeDecodeError:
            self._at = start
            self._fail(f"string {len(strings)} of {key!r} is not UTF-8")
        self._at = at
        return strings

    def _alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if isinstance(alignment, bool) or not isinstance(alignment, int):
            self._fail("general.alignment is not a whole number")
        if not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            self._fail(f"general.alignment is {alignment}, not a power of two up to {MAX_ALIGNMENT}")
        return alignment

    def _read_tensors(self, count: int, alignment: int) -> dict[str, GgufTensor]:
        self._need(count * _SMALLEST_TENSOR, f"the {count} entries of the tensor table")
        entries: dict[str, tuple[tuple[int, ...], GgmlType, int]] = {}
        for index in range(count):
            name = self._name(f"the name of tensor {index}")
            if name in entries:
                self._fail(f"the tensor {name!r} occurs twice")
            shape = self._shape(name)
            kind = self._tensor_type(name)
            offset = self._u64(f"the offset of {name!r}")
            if offset % alignment:
                self._fail(f"{name!r} lies at {offset}, not a multiple of the alignment {alignment}")
            entries[name] = shape, kind, offset
        data_start = -(-self._at // alignment) * alignment
        tensors = {name: self._place(name, *entry, data_start) for name, entry in entries.items()}
        self._check_overlap(tensors)
        return tensors

    def _shape(self, name: str) -> tuple[int, ...]:
        dimensions = self._u32(f"the number of dimensions of {name!r}")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            self._fail(f"{name!r} has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
        sizes = [self._u64(f"dimension {i} of {name!r}") for i in range(dimensions)]
        if 0 in sizes:
            self._fail(f"{name!r} has a dimension of size 0")
        return tuple(reversed(sizes))

    def _tensor_type(self, name: str) -> GgmlType:
        kind = self._u32(f"the type of {name!r}")
        try:
            return GgmlType(kind)
        except ValueError:
            if kind not in UNREADABLE_TYPES:
                self._fail(f"{name!r} has the unknown tensor type {kind}")
        raise ModelUnavailableError(
            f"{self._path}: {name!r} is of type {UNREADABLE_TYPES[kind]}, which cannot be read.",
            hint=f"Fetch the model in one of {', '.join(t.name for t in GgmlType)}.",
        )

    def _place(self, name: str, shape: tuple[int, ...], kind: GgmlType, offset: int, data_start: int) -> GgufTensor:
        block = BLOCK_SIZES[kind]
        if shape[-1] % block.values:
            self._fail(f"{name!r} has rows of {shape[-1]} values, not whole {kind.name} blocks of {block.values}")
        size = prod(shape) // block.values * block.bytes
        if data_start + offset + size > self._size:
            self._fail(f"{name!r} needs {size} bytes from byte {data_start + offset} on")
        return GgufTensor(name, shape, kind, data_start + offset, size)

    def _check_overlap(self, tensors: Mapping[str, GgufTensor]) -> None:
        end, before = 0, ""
        for tensor in sorted(tensors.values(), key=lambda t: t.offset):
            if tensor.offset < end:
                self._fail(f"the tensors {before!r} and {tensor.name!r} overlap")
            end, before = tensor.offset + tensor.size, tensor.name

    def _name(self, what: str) -> str:
        length = self._u64(f"the length of {what}")
        if length > MAX_NAME_BYTES:
            self._fail(f"{what} is {length} bytes long, the limit is {MAX_NAME_BYTES}")
        self._need(length, what)
        raw = self._data[self._at : self._at + length]
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            self._fail(f"{what} is not UTF-8")
        self._at += length
        return name

    def _u32(self, what: str) -> int:
        self._need(4, what)
        value: int = _U32.unpack_from(self._data, self._at)[0]
        self._at += 4
        return value

    def _u64(self, what: str) -> int:
        self._need(8, what)
        value: int = _U64.unpack_from(self._data, self._at)[0]
        self._at += 8
        return value

    def _need(self, size: int, what: str) -> None:
        if size > self._size - self._at:
            self._fail(f"{what} would take {size} bytes and {self._size - self._at} are left")

    def _fail(self, problem: str, hint: str = "Fetch the file again.") -> NoReturn:
        raise MalformedFileError(f"{self._path}, at byte {self._at} of {self._size}: {problem}.", hint=hint)
