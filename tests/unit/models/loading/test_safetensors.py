from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.safetensors import DTYPES, MAX_HEADER_BYTES, SafetensorsFile, write_safetensors

REFERENCE_DTYPES = {name: dtype for name, dtype in DTYPES.items() if name not in ("U16", "U32", "U64")}
"""The reference package's torch writer takes these on every release that is allowed."""


def some(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(12).to(torch.float32).to(dtype).view(3, 4)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bytes(raw(a)) == bytes(raw(b))


def raw(tensor: torch.Tensor) -> Any:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


def file_of(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("name", DTYPES)
def test_own_files_come_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"x": some(DTYPES[name])})
    with SafetensorsFile(path) as file:
        assert same(file.tensor("x"), some(DTYPES[name]))


@pytest.mark.parametrize("name", REFERENCE_DTYPES)
def test_reference_package_reads_ours_and_we_read_its(tmp_path: Path, name: str) -> None:
    ours, theirs, tensors = tmp_path / "ours", tmp_path / "theirs", {"x": some(DTYPES[name]), "y": some(torch.int8)}
    write_safetensors(ours, tensors, {"k": "v"})
    loaded = safetensors.torch.load_file(ours)
    assert loaded.keys() == tensors.keys()
    assert all(same(loaded[key], tensors[key]) for key in tensors)
    safetensors.torch.save_file(tensors, theirs, {"format": "pt"})
    with SafetensorsFile(theirs) as file:
        assert file.metadata == {"format": "pt"}
        assert all(same(file.tensor(key), tensors[key]) for key in tensors)


def test_metadata_and_odd_shapes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    tensors = {
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "transposed": torch.arange(6.0).view(2, 3).T,
        "grün": torch.ones(1),
    }
    write_safetensors(path, tensors, {"quelle": "größer"})
    loaded = safetensors.torch.load_file(path)
    with SafetensorsFile(path) as file:
        assert file.metadata == {"quelle": "größer"}
        assert list(file.tensors) == list(tensors)
        for name, tensor in tensors.items():
            assert same(file.tensor(name), tensor)
            assert same(loaded[name], tensor)


def test_tensors_are_written_as_they_come(tmp_path: Path) -> None:
    alive: list[str] = []

    def stream() -> Iterator[tuple[str, torch.Tensor]]:
        for index in range(3):
            alive.append(f"t{index}")
            yield f"t{index}", torch.full((5,), index)

    write_safetensors(tmp_path / "x", stream())
    with SafetensorsFile(tmp_path / "x") as file:
        assert list(file.tensors) == alive
        assert file.tensor("t2").tolist() == [2] * 5


def test_data_begins_aligned(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {"x": torch.ones(3)}, header_space=1000)
    with SafetensorsFile(tmp_path / "x") as file:
        assert file.tensors["x"].offset % 64 == 0


def test_unaligned_tensors_are_readable(tmp_path: Path) -> None:
    tensors = {"byte": torch.ones(1, dtype=torch.uint8), "wide": torch.arange(4.0)}
    write_safetensors(tmp_path / "x", tensors)
    with SafetensorsFile(tmp_path / "x") as file:
        assert file.tensor("wide").data_ptr() % 4 == 0
        assert same(file.tensor("wide"), tensors["wide"])


def test_tensors_outlive_the_file_and_never_change_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_safetensors(path, {"x": torch.arange(4.0)})
    content = path.read_bytes()
    file = SafetensorsFile(path)
    tensor = file.tensor("x")
    file.close()
    tensor += 1
    assert tensor.tolist() == [1, 2, 3, 4]
    assert path.read_bytes() == content


def failing_stream() -> Iterator[tuple[str, torch.Tensor]]:
    yield "a", torch.ones(1)
    raise RuntimeError("no more")


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no more"):
        write_safetensors(tmp_path / "x", failing_stream())
    with pytest.raises(ValueError, match="taken"):
        write_safetensors(tmp_path / "x", [("a", torch.ones(1)), ("a", torch.ones(1))])
    with pytest.raises(ValueError, match="header_space"):
        write_safetensors(tmp_path / "x", {"a" * 500: torch.ones(1)}, header_space=100)
    assert list(tmp_path.iterdir()) == []


MALFORMED: dict[str, tuple[bytes, str]] = {
    "shorter than its length": (b"1234567", "are no safetensors file"),
    "header beyond the file": (struct.pack("<Q", 100) + b"{}", "header would take 100"),
    "header beyond all bounds": (struct.pack("<Q", 1 << 63) + b"{}", "header would take"),
    "not JSON": (file_of(b"{nope}"), "not valid JSON"),
    "not UTF-8": (file_of(b'{"\xff\xfe": 1}'), "not valid JSON"),
    "nested without end": (file_of(b'{"a":' + b"[" * 100_000), "not valid JSON"),
    "not an object": (file_of(b"[]"), "opening brace"),
    "leading space": (file_of(b" {}"), "opening brace"),
    "empty header": (file_of(b""), "opening brace"),
    "a name twice": (
        file_of(
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "a name is repeated",
    ),
    "metadata of numbers": (file_of(b'{"__metadata__":{"a":1}}'), "does not map text to text"),
    "metadata of nothing": (file_of(b'{"__metadata__":null}'), "does not map text to text"),
    "trailing bytes": (file_of(b"{}", b"x"), "the tensors end at"),
}
BAD_ENTRIES: dict[str, tuple[Any, str]] = {
    "no object": (3, "is not dtype, shape"),
    "key missing": ({"dtype": "F32", "shape": [2]}, "is not dtype, shape"),
    "key too many": (entry() | {"more": 1}, "is not dtype, shape"),
    "unknown dtype": (entry(dtype="F31"), "the dtype of"),
    "dtype of the wrong type": (entry(dtype=[]), "the dtype of"),  # type: ignore[arg-type]
    "shape negative": (entry(shape=[-2]), "the shape of"),
    "shape of bools": (entry(shape=[True]), "the shape of"),
    "shape of floats": (entry(shape=[2.0]), "the shape of"),
    "shape no list": (entry(shape="2"), "the shape of"),
    "shape huge": (entry(shape=[1 << 62, 1 << 62]), "its shape and dtype take"),
    "offsets backwards": (entry(offsets=[8, 0]), "the offsets of"),
    "offsets negative": (entry(offsets=[-8, 0]), "the offsets of"),
    "one offset": (entry(offsets=[0]), "the offsets of"),
    "size wrong": (entry(offsets=[0, 4]), "spans 4 bytes"),
    "beyond the file": (entry(shape=[4], offsets=[0, 16]), "the tensors end at"),
    "hole at the start": (entry(offsets=[4, 12]), "begins at byte"),
}


@pytest.mark.parametrize("case", [*MALFORMED, *BAD_ENTRIES])
def test_malformed_files_are_named_as_such(tmp_path: Path, case: str) -> None:
    if case in MALFORMED:
        content, problem = MALFORMED[case]
    else:
        content, problem = file_of(json.dumps({"t": BAD_ENTRIES[case][0]}).encode(), bytes(8)), BAD_ENTRIES[case][1]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(MalformedFileError) as caught:
        SafetensorsFile(path)
    assert problem in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_overlap_and_holes_between_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for second in ([4, 12], [12, 20]):
        header = {"a": entry(offsets=[0, 8]), "b": entry(offsets=second)}
        path.write_bytes(file_of(json.dumps(header).encode(), bytes(second[1])))
        with pytest.raises(MalformedFileError, match="'b' begins at byte"):
            SafetensorsFile(path)


def test_header_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(MalformedFileError, match="the header would take"):
        SafetensorsFile(path)


def test_dtypes_that_torch_cannot_hold_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(file_of(json.dumps({"t": entry(dtype="F4", shape=[16])}).encode(), bytes(8)))
    with pytest.raises(ModelUnavailableError, match="F4"):
        SafetensorsFile(path)


@pytest.fixture(scope="session")
def valid_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("safetensors") / "x"
    tensors = {"a": torch.ones(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    write_safetensors(path, tensors, {"k": "v"}, header_space=200)
    return path.read_bytes()


def read_all(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(content)
        temporary.flush()
        with (
            contextlib.suppress(MalformedFileError, ModelUnavailableError),
            SafetensorsFile(Path(temporary.name)) as file,
        ):
            for name in file.tensors:
                file.tensor(name).sum()


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_mutations_never_crash(valid_file: bytes, data: st.DataObject) -> None:
    content = bytearray(valid_file[: data.draw(st.integers(0, len(valid_file)))])
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(content))


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 1 << 65) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.binary(max_size=32),
)
def test_any_json_as_an_entry(value: Any, data: bytes) -> None:
    read_all(file_of(json.dumps({"t": value, "u": entry()}).encode(), data))
