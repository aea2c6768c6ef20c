"""Whatever stands in a model's files, opening it gives a model or an error that says so: never anything else."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.families import TINY
from support.tokenizers import pieces, write_vocabulary

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.architectures.place import Positions
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_tokenizer import gguf_tokenizer
from openhearth.models.loading.hf_config import hugging_face_config
from openhearth.models.loading.shards import INDEX_NAME, Shards
from openhearth.models.loading.source import open_source

EXPECTED = (MalformedFileError, ModelUnavailableError)
FUZZ = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
HUGE = [
    -1,
    0,
    1,
    3,
    1 << 20,
    1 << 31,
    1 << 63,
    10**30,
    10**400,
    0.0,
    -1.5,
    0.1,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
]
VALUES = st.one_of(
    st.sampled_from(HUGE),
    st.none(),
    st.booleans(),
    st.text(max_size=4),
    st.sampled_from([[], {}, [1], ["full_attention"], ["sliding_attention"] * 3, {"rope_type": "yarn"}]),
)


@pytest.fixture(scope="module")
def configs() -> list[dict[str, Any]]:
    """The config.json of every kind of tiny model."""
    from support.families import tiny_config

    return [tiny_config(name) for name in TINY]


@FUZZ
@given(data=st.data())
def test_config_values(configs: list[dict[str, Any]], data: st.DataObject) -> None:
    config = dict(data.draw(st.sampled_from(configs)))
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(config)))
        rope = config.get("rope_parameters")
        if key == "rope_parameters" and isinstance(rope, dict) and rope:
            config[key] = rope | {data.draw(st.sampled_from(sorted(rope))): data.draw(VALUES)}
        else:
            config[key] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        try:
            found = hugging_face_config(Path(folder))
        except EXPECTED:
            return
    Positions(found, min(found.max_context, 64), torch.device("cpu"))


@FUZZ
@given(data=st.data())
def test_gguf_models(tiny_gguf: Any, data: st.DataObject) -> None:
    """A whole tiny model with some of its bytes replaced, or cut short."""
    path: Path = tiny_gguf(pre=data.draw(st.sampled_from(["smollm", "llama-bpe"])))
    content = bytearray(path.read_bytes())
    header = len(content) - 40_000  # the rest is weights, which may have any value
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, header))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([None, header, 1000]))])
    try:
        source = open_source(path)
    except EXPECTED:
        return
    try:
        source.tokenizer().encode("hello hello<|im_end|> grün")
    except EXPECTED:
        pass
    finally:
        source.close()


KINDS = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 99]), min_size=1, max_size=12)
TOKENS = st.lists(
    st.sampled_from(["", "a", "b", "ab", "▁", "▁a", "<0x41>", "<unk>", "\0", "é", "a b"]), min_size=1, max_size=12
)
METADATA: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["gpt2", "llama", "t5", "bert"]),
    "pre": st.sampled_from(["qwen2", "tekken", "none"]),
    "tokens": TOKENS,
    "token_type": KINDS,
    "scores": st.lists(st.floats(width=32), min_size=1, max_size=12),
    "merges": st.lists(st.sampled_from(["a b", "b a", "ab a", "a", " ", "a  b", "\0 a"]), min_size=1, max_size=4),
    "unknown_token_id": st.integers(0, 14),
    "add_space_prefix": st.booleans(),
    "remove_extra_whitespaces": st.booleans(),
    "precompiled_charsmap": st.binary(min_size=1, max_size=40),
}


@FUZZ
@given(metadata=st.fixed_dictionaries({}, optional=METADATA))
def test_tokenizer_metadata(tmp_path: Path, metadata: dict[str, Any]) -> None:
    tokens = metadata.get("tokens", ["a"])
    for key in ("token_type", "scores"):
        if key in metadata and len(metadata[key]) > 6:  # most of the time as many as there are tokens
            metadata[key] = [metadata[key][index % len(metadata[key])] for index in range(len(tokens))]
    path = tmp_path / "v.gguf"
    path.unlink(missing_ok=True)
    write_vocabulary(path, metadata)
    with GgufFile(path) as file:
        try:
            tokenizer = gguf_tokenizer(file)
        except EXPECTED:
            return
    for text in ("", "ab a", " a  b ", "é\0<unk>"):
        tokenizer.decode(tokenizer.encode(text).ids)


@FUZZ
@given(data=st.data())
def test_sentencepiece_metadata(tmp_path: Path, data: st.DataObject) -> None:
    """A real vocabulary in which some tokens, kinds or scores are others."""
    tokens, kinds, scores = (list(part) for part in pieces())
    for _ in range(data.draw(st.integers(1, 4))):
        tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(st.sampled_from(["", "▁", "zz", "<s>", "\0"]))
        kinds[data.draw(st.integers(0, len(kinds) - 1))] = data.draw(st.sampled_from([0, 1, 2, 4, 5, 6, 1 << 30]))
        scores[data.draw(st.integers(0, len(scores) - 1))] = data.draw(st.floats(width=32))
    path = tmp_path / "v.gguf"
    path.unlink(missing_ok=True)
    model = data.draw(st.sampled_from(["llama", "t5"]))
    write_vocabulary(path, {"model": model, "tokens": tokens, "token_type": kinds, "scores": scores})
    with GgufFile(path) as file, contextlib.suppress(*EXPECTED):
        gguf_tokenizer(file).encode("def f(x):\n    return x  日本 <s>")


NAMES = st.sampled_from(["a", "b", "", "__metadata__", "x" * 300])
FILES = st.one_of(
    st.sampled_from(["one.safetensors", "two.safetensors", "no.safetensors", "../one.safetensors"]), VALUES
)


@FUZZ
@given(
    places=st.one_of(st.dictionaries(NAMES, FILES, max_size=4), VALUES), rest=st.dictionaries(NAMES, VALUES, max_size=2)
)
def test_index_of_shards(tmp_path: Path, places: Any, rest: dict[str, Any]) -> None:
    for name, tensor in (("one", "a"), ("two", "b")):
        if not (tmp_path / f"{name}.safetensors").exists():
            safetensors.torch.save_file({tensor: torch.ones(2)}, tmp_path / f"{name}.safetensors")
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": places} | rest))
    try:
        shards = Shards(tmp_path)
    except EXPECTED:
        return
    assert [float(shards.tensor(name).sum()) for name in shards.names()] == [2.0] * len(list(shards.names()))
    shards.close()
