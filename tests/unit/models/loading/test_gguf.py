from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.ggml_types import GgmlType
from openhearth.models.loading.gguf import GgufFile, GgufTensor

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
Builder = type[Any]


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.gguf"
    path.write_bytes(content)
    return path


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60_000)
    writer.add_int16("i16", -30_000)
    writer.add_uint32("u32", 4_000_000_000)
    writer.add_int32("i32", -2_000_000_000)
    writer.add_uint64("u64", 2**63 + 1)
    writer.add_int64("i64", -(2**62))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_bool("no", False)
    writer.add_string("text", "grün 日本")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("words", ["a", "日本", " "])
    writer.add_tensor("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with GgufFile(path) as file:
        values = dict(file.metadata)
        numbers = values.pop("numbers")
        assert isinstance(numbers, np.ndarray)
        assert numbers.tolist() == [1, 2, 3]
        assert values == {
            "general.architecture": "llama",
            "u8": 200,
            "i8": -100,
            "u16": 60_000,
            "i16": -30_000,
            "u32": 4_000_000_000,
            "i32": -2_000_000_000,
            "u64": 2**63 + 1,
            "i64": -(2**62),
            "f32": 0.5,
            "f64": 0.1,
            "yes": True,
            "no": False,
            "text": "grün 日本",
            "words": ["a", "日本", " "],
        }
        assert torch.equal(file.load("w"), torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("version", [2, 3])
def test_tensor_table(tmp_path: Path, gguf_bytes: Builder, version: int) -> None:
    content = gguf_bytes(version=version).tensor("a", (3, 2), 0, 0).tensor("b", (32, 1), 8, 32).build(bytes(32 + 34))
    with GgufFile(write(tmp_path, content)) as file:
        start = len(content) - 32 - 34
        assert file.version == version
        assert file.tensors == {
            "a": GgufTensor("a", (2, 3), GgmlType.F32, start, 24),
            "b": GgufTensor("b", (1, 32), GgmlType.Q8_0, start + 32, 34),
        }


def test_alignment_of_the_file_is_respected(tmp_path: Path, gguf_bytes: Builder) -> None:
    builder = gguf_bytes().pair("general.alignment", 4, U32.pack(128)).tensor("a", (2,), 0, 0).tensor("b", (1,), 0, 128)
    builder.alignment = 128
    content = builder.build(np.array([1, 2], "<f4").tobytes().ljust(128, b"\0") + np.array([3], "<f4").tobytes())
    with GgufFile(write(tmp_path, content)) as file:
        assert file.load("a").tolist() == [1, 2]
        assert file.load("b").tolist() == [3]


def test_nested_arrays(tmp_path: Path, valid_gguf_bytes: bytes) -> None:
    with GgufFile(write(tmp_path, valid_gguf_bytes)) as file:
        nest: Any = file.metadata["a.nest"]
        numbers, words = nest
        assert numbers.tolist() == [7, 8]
        assert words == ["x"]


def test_loaded_tensors_outlive_the_file(tmp_path: Path, valid_gguf_bytes: bytes) -> None:
    path = write(tmp_path, valid_gguf_bytes)
    with GgufFile(path) as file:
        tensor = file.load("first")
    path.unlink()
    tensor += 1
    assert tensor.flatten().tolist() == list(range(1, 9))


def test_nothing_stays_mapped(tmp_path: Path, valid_gguf_bytes: bytes) -> None:
    path = write(tmp_path, valid_gguf_bytes)
    GgufFile(path).close()
    with pytest.raises(MalformedFileError):
        GgufFile(write(tmp_path, b"GGUF" + bytes(100)))
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


MALFORMED: dict[str, tuple[Callable[[Builder], bytes], str]] = {
    "not gguf": (lambda b: b"GGML" + bytes(64), "does not begin with GGUF"),
    "only the magic": (lambda b: b"GGUF", "the magic and the version"),
    "version zero": (lambda b: b(version=0).build(), "version 0 does not exist"),
    "no counts": (lambda b: b().build()[:12], "the tensor count"),
    "more pairs than bytes": (lambda b: _counts(b(), pairs=1 << 60), "what the counts announce"),
    "more tensors than bytes": (lambda b: _counts(b(), tensors=1 << 60), "what the counts announce"),
    "key beyond the file": (lambda b: b().build()[:16] + U64.pack(1) + U64.pack(60_000) + bytes(9), "the key of"),
    "endless key": (lambda b: b().build()[:16] + U64.pack(1) + U64.pack(1 << 40) + bytes(9), "the limit is 65535"),
    "key not UTF-8": (lambda b: b().pair(b"\xff\xfe", 0, b"\0").build(), "is not UTF-8"),
    "key twice": (lambda b: b().pair("k", 0, b"\0").pair("k", 0, b"\0").build(), "'k' occurs twice"),
    "unknown value type": (lambda b: b().pair("k", 13, b"\0" * 8).build(), "unknown value type 13"),
    "bool of 2": (lambda b: b().pair("k", 7, b"\2").build(), "truth value"),
    "string beyond the file": (lambda b: b().pair("k", 8, U64.pack(1 << 50)).build(), "ends beyond the file"),
    "string not UTF-8": (lambda b: b().pair("k", 8, b.text(b"\xc3(")).build(), "is not UTF-8"),
    "array of unknowns": (lambda b: b().array("k", 99, 1, b"\0" * 8).build(), "unknown item type 99"),
    "array of 2^62 bytes": (lambda b: b().array("k", 0, 1 << 62, b"").build(), "items of 'k'"),
    "array of 2^61 strings": (lambda b: b().array("k", 8, 1 << 61, b"").build(), "items of 'k'"),
    "array cut in a string": (lambda b: b().array("k", 8, 2, b.text("a" * 8)).build()[:-28], "string 1 of 'k'"),
    "array too deep": (lambda b: b().pair("k", 9, (U32.pack(9) + U64.pack(1)) * 9).build(), "nests arrays deeper"),
    "alignment of text": (lambda b: b().pair("general.alignment", 8, b.text("32")).build(), "not a whole number"),
    "alignment of 0": (lambda b: b().pair("general.alignment", 4, U32.pack(0)).build(), "general.alignment is 0"),
    "alignment of 48": (lambda b: b().pair("general.alignment", 4, U32.pack(48)).build(), "general.alignment is 48"),
    "huge alignment": (lambda b: b().pair("general.alignment", 10, U64.pack(1 << 40)).build(), "alignment is 1099"),
    "tensor twice": (lambda b: b().tensor("t", (1,), 0, 0).tensor("t", (1,), 0, 0).build(bytes(4)), "occurs twice"),
    "no dimensions": (lambda b: b().tensor("t", (), 0, 0).build(bytes(4)), "has 0 dimensions"),
    "five dimensions": (lambda b: b().tensor("t", (1,) * 5, 0, 0).build(bytes(4)), "has 5 dimensions"),
    "empty dimension": (lambda b: b().tensor("t", (1, 0), 0, 0).build(bytes(4)), "dimension of size 0"),
    "unknown tensor type": (lambda b: b().tensor("t", (1,), 77, 0).build(bytes(4)), "unknown tensor type 77"),
    "removed tensor type": (lambda b: b().tensor("t", (1,), 4, 0).build(bytes(4)), "unknown tensor type 4"),
    "broken block": (lambda b: b().tensor("t", (33,), 8, 0).build(bytes(99)), "not whole Q8_0 blocks of 32"),
    "offset not aligned": (lambda b: b().tensor("t", (1,), 0, 4).build(bytes(64)), "not a multiple of the alignment"),
    "data cut short": (lambda b: b().tensor("t", (2,), 0, 0).build(bytes(7)), "needs 8 bytes"),
    "data far away": (lambda b: b().tensor("t", (2,), 0, 1 << 62).build(bytes(8)), "needs 8 bytes"),
    "product of sizes overflows": (
        lambda b: b().tensor("t", (1 << 33, 1 << 33), 0, 0).build(bytes(64)),
        "needs 295147905179352825856 bytes",
    ),
    "overlap": (lambda b: b().tensor("t", (9,), 0, 0).tensor("u", (1,), 0, 32).build(bytes(64)), "'t' and 'u' overlap"),
}


def _counts(builder: Any, tensors: int | None = None, pairs: int | None = None) -> bytes:
    builder.tensor_count, builder.pair_count = tensors, pairs
    content: bytes = builder.build()
    return content


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_named_as_such(tmp_path: Path, gguf_bytes: Builder, case: str) -> None:
    build, problem = MALFORMED[case]
    path = write(tmp_path, build(gguf_bytes))
    with pytest.raises(MalformedFileError) as caught:
        GgufFile(path)
    assert problem in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


UNSUPPORTED: dict[str, tuple[Callable[[Builder], bytes], str]] = {
    "version 1": (lambda b: b(version=1).build(), "GGUF version 1"),
    "version 4": (lambda b: b(version=4).build(), "GGUF version 4"),
    "big-endian": (lambda b: b"GGUF" + struct.pack(">I", 3) + bytes(64), "big-endian"),
    "IQ2_XS": (lambda b: b().tensor("t", (256,), 17, 0).build(bytes(74)), "IQ2_XS"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_valid_files_beyond_support_are_told_apart(tmp_path: Path, gguf_bytes: Builder, case: str) -> None:
    build, problem = UNSUPPORTED[case]
    with pytest.raises(ModelUnavailableError, match=problem) as caught:
        GgufFile(write(tmp_path, build(gguf_bytes)))
    assert caught.value.hint


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="No such file"):
        GgufFile(tmp_path / "none.gguf")
    with pytest.raises(ModelUnavailableError, match="not a regular file"):
        GgufFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelUnavailableError, match="not a regular file"):
        GgufFile(tmp_path / "pipe")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(MalformedFileError, match="is empty"):
        GgufFile(tmp_path / "empty.gguf")
