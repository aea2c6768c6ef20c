"""Only known types are written, and no bytes whatever make reading do anything but fail."""

from __future__ import annotations

import enum
import os
import pickle
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import ormsgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Overwrite, Send
from pydantic import BaseModel

from openhearth.agents.serde import FORMAT, StrictSerde
from openhearth.errors import StorageError
from openhearth.types import FileChange, Message, ToolCall, ToolOutput, Usage

serde = StrictSerde()
unhurried = settings(deadline=None)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@unhurried
@given(value=plain)
def test_plain_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    got = serde.loads_typed(serde.dumps_typed(value))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        2**200,
        -(2**64),
        {1, 2},
        {(1, 2): 3, None: 4, True: 5},
        frozenset({"a"}),
        datetime(2026, 3, 1, tzinfo=UTC),
        date(2026, 3, 1),
        timedelta(days=-1, microseconds=5),
        Decimal("1.10"),
        uuid4(),
        Path("/tmp/x"),
        Send("node", {"a": (1, 2)}),
        Overwrite([1]),
        (Interrupt(value={"approval": "apr_1"}, id="abc"),),
        Message(role="assistant", content="ü", tool_calls=(ToolCall(id="1", name="add", arguments={"n": 2**70}),)),
        ToolOutput(content="x", ok=False, changes=(FileChange(path="a", kind="added"),)),
        [Usage(prompt_tokens=1)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_known_types_come_back_equal(value: Any) -> None:
    got = serde.loads_typed(serde.dumps_typed(value))
    assert got == value
    assert type(got) is type(value)


def test_an_exception_comes_back_as_its_text() -> None:
    assert serde.loads_typed(serde.dumps_typed(ValueError("no"))) == "ValueError('no')"


@dataclass
class Point:
    x: int


class Colour(enum.StrEnum):
    RED = "red"


class Shape(BaseModel):
    sides: int


class Loud(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [Point(1), Colour.RED, Shape(sides=3), Loud("x"), object(), len, OrderedDict(a=1), Point]
)
def test_an_unknown_type_is_an_error_when_it_is_written(value: Any) -> None:
    with pytest.raises(StorageError, match="cannot be stored"):
        serde.dumps_typed({"deep": [value]})


def test_a_value_that_holds_itself_is_an_error_when_it_is_written() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(StorageError, match="cannot be stored"):
        serde.dumps_typed(endless)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (99,)


@pytest.mark.parametrize("kind", ["pickle", "msgpack", "json", "", FORMAT])
def test_a_pickle_is_never_loaded(kind: str) -> None:
    with pytest.raises(StorageError):
        serde.loads_typed((kind, pickle.dumps(Bomb())))


@dataclass
class Tripwire:
    """LangGraph's permissive serialiser would import and build it."""

    path: str

    def __post_init__(self) -> None:
        Path(self.path).touch()


def test_bytes_that_make_langgraphs_serialiser_build_an_object_do_nothing_here(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    hostile = JsonPlusSerializer().dumps_typed(Tripwire(str(trap)))
    trap.unlink()
    JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(hostile)
    assert trap.exists(), "the control: these bytes are live"
    trap.unlink()
    with pytest.raises(StorageError):
        serde.loads_typed((FORMAT, _sealed(hostile[1])))
    assert not trap.exists()


def _sealed(data: bytes) -> bytes:
    """With the checksum that an attacker would put before it."""
    return zlib.crc32(data).to_bytes(4, "big") + data


@unhurried
@given(value=plain, position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(value: Any, position: int, bit: int) -> None:
    kind, data = serde.dumps_typed(value)
    damaged = bytearray(data)
    damaged[position % len(data)] ^= 1 << bit
    with pytest.raises(StorageError, match="checksum") as noticed:
        serde.loads_typed((kind, bytes(damaged)))
    assert "backup" in noticed.value.hint


def _nested(levels: int) -> bytes:
    data = ormsgpack.packb(["tuple", []])
    for _ in range(levels):
        data = ormsgpack.packb(["tuple", ormsgpack.Ext(1, data)])
    return ormsgpack.packb(ormsgpack.Ext(1, data))


@unhurried
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\xdd\xff\xff\xff\xff")
@example(data=b"\xdf\xff\xff\xff\xff")
@example(data=b"\xc6\xff\xff\xff\xff")
@example(data=b"\x91" * 100_000)
@example(data=_nested(5_000))
@example(data=ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(["os.system", "true"]))))
@example(data=ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(["Message", {"role": "pope"}]))))
@example(data=ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(["timedelta", [10**12, 0, 0]]))))
@example(data=ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(["decimal", "one"]))))
@example(data=ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(["int", "0x" + "f" * 100_000]))))
@example(data=ormsgpack.packb(ormsgpack.Ext(2, b"")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        serde.loads_typed((FORMAT, _sealed(data)))
    except StorageError:
        return
