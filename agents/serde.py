"""How graph state becomes bytes: msgpack of known types, each tagged by a name of ours.

Nothing is ever imported or called because the bytes say so, which rules out code execution from a doctored database;
LangGraph's own serialiser does both. A value of any other type is an error when it is written, not when it is
missed. Tuples, sets and integers of any size come back as what they were; an exception comes back as its text. The
first four bytes are a checksum of the rest, since SQLite keeps none: a flipped bit is noticed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import PosixPath
from typing import Any
from uuid import UUID

import ormsgpack
from langgraph.types import Interrupt, Overwrite, Send

from openhearth import types
from openhearth.errors import StorageError

FORMAT = "m1"

_TAGGED = 1
_CHECKSUM_BYTES = 4
_PACK = (
    ormsgpack.OPT_NON_STR_KEYS
    | ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_REPLACE_SURROGATES
)
_UNPACK = ormsgpack.OPT_NON_STR_KEYS
# What unpacking, and the constructors below, raise for bytes that nobody here wrote.
_HOSTILE = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError)


class StrictSerde:
    """LangGraph's SerializerProtocol over the known types. Raises StorageError, on writing and on reading."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The format's name and the bytes. Raises StorageError naming the type that is not known."""
        try:
            packed = _pack(obj)
        except (ValueError, TypeError, RecursionError) as error:
            raise StorageError(
                f"The graph's state cannot be stored: {error}.", hint="Keep plain values and openhearth.types in it."
            ) from error
        return FORMAT, _checksum(packed) + packed

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value. Raises StorageError for bytes that `dumps_typed` did not write."""
        kind, payload = data
        if kind != FORMAT:
            raise StorageError(f"A checkpoint has the unknown format {kind!r}.", hint=_DAMAGED)
        packed = payload[_CHECKSUM_BYTES:]
        if payload[:_CHECKSUM_BYTES] != _checksum(packed):
            raise StorageError("A checkpoint cannot be read: its checksum is wrong.", hint=_DAMAGED)
        try:
            return _unpack(packed)
        except _HOSTILE as error:
            raise StorageError(f"A checkpoint cannot be read: {error}.", hint=_DAMAGED) from error


@dataclass(frozen=True, slots=True)
class _Known:
    tag: str
    kind: type
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


_DAMAGED = "The database was damaged or changed by another program; restore a backup of it."


def _of_value(kind: type[types.Value]) -> _Known:
    return _Known(kind.__name__, kind, lambda value: value.model_dump(), kind.model_validate)


_KNOWN = (
    _Known("tuple", tuple, list, tuple),
    _Known("set", set, list, set),
    _Known("frozenset", frozenset, list, frozenset),
    _Known("int", int, hex, lambda text: int(text, 16)),
    _Known("datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    _Known("date", date, date.isoformat, date.fromisoformat),
    _Known("timedelta", timedelta, lambda d: [d.days, d.seconds, d.microseconds], lambda p: timedelta(*p)),
    _Known("decimal", Decimal, str, Decimal),
    _Known("uuid", UUID, lambda value: value.bytes, lambda data: UUID(bytes=data)),
    _Known("path", PosixPath, str, PosixPath),
    _Known("send", Send, lambda send: [send.node, send.arg], lambda parts: Send(*parts)),
    _Known("interrupt", Interrupt, lambda it: [it.value, it.id], lambda parts: Interrupt(value=parts[0], id=parts[1])),
    _Known("overwrite", Overwrite, lambda overwrite: overwrite.value, Overwrite),
    *(
        _of_value(kind)
        for kind in (
            types.ErrorInfo,
            types.FileChange,
            types.Message,
            types.ModelInfo,
            types.Reply,
            types.Sampling,
            types.Timings,
            types.ToolAnnotations,
            types.ToolCall,
            types.ToolOutput,
            types.ToolSpec,
            types.Usage,
        )
    ),
)
_BY_KIND = {known.kind: known for known in _KNOWN}
_BY_TAG = {known.tag: known for known in _KNOWN}


def _checksum(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "big")


def _pack(value: Any) -> bytes:
    return ormsgpack.packb(value, default=_tag, option=_PACK)


def _unpack(data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_untag, option=_UNPACK)


def _tag(value: Any) -> Any:
    known = _BY_KIND.get(type(value))
    if known is not None:
        return ormsgpack.Ext(_TAGGED, _pack([known.tag, known.to_plain(value)]))
    if isinstance(value, BaseException):
        return repr(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not a known type")


def _untag(code: int, data: bytes) -> Any:
    if code != _TAGGED:
        raise ValueError(f"unknown extension {code}")
    tag, plain = _unpack(data)
    return _BY_TAG[tag].from_plain(plain)
