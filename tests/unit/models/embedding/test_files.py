"""Folders that hold an embedding model, and those that do not quite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_encoder import LIMIT, tiny_encoder

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.embedding.files import read_embedding_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoder(tmp_path)
    return tmp_path


def change(file: Path, **values: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def test_the_files_padding_and_truncation_are_not_ours(folder: Path) -> None:
    files = read_embedding_files(folder)
    assert files.limit == LIMIT
    assert len(files.tokenizer.encode("fog").ids) == 3
    assert len(files.tokenizer.encode("fog " * LIMIT).ids) == LIMIT


def test_what_sentence_transformers_says_is_heard(folder: Path) -> None:
    change(folder / "sentence_bert_config.json", max_seq_length=16)
    change(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    files = read_embedding_files(folder)
    assert (files.limit, files.pooling) == (16, "first")


@pytest.mark.parametrize("limit", [2, -1, "many", True])
def test_a_senseless_limit_is_refused(folder: Path, limit: object) -> None:
    change(folder / "sentence_bert_config.json", max_seq_length=limit)
    with pytest.raises(MalformedFileError, match="at most"):
        read_embedding_files(folder)


def test_other_poolings_are_refused(folder: Path) -> None:
    change(folder / "1_Pooling" / "config.json", pooling_mode_max_tokens=True)
    with pytest.raises(ModelUnavailableError, match="pooling_mode_max_tokens"):
        read_embedding_files(folder)


def test_weights_beneath_a_prefix_are_found(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({f"bert.{name}": tensor.half() for name, tensor in weights.items()}, folder / "model.safetensors")
    files = read_embedding_files(folder)
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(files.tensors[name], weights[name].half().float())


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"model_type": "gpt2"}, ModelUnavailableError),
        ({"num_attention_heads": 5}, MalformedFileError),
        ({"hidden_act": "swish"}, MalformedFileError),
        ({"hidden_size": "wide"}, MalformedFileError),
        ({"intermediate_size": 41}, MalformedFileError),
        ({"num_hidden_layers": 3}, MalformedFileError),
        ({"vocab_size": 10}, MalformedFileError),
    ],
)
def test_a_wrong_config_is_refused(folder: Path, values: dict[str, Any], error: type[Exception]) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(error):
        read_embedding_files(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_and_damaged_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_text("no")
    with pytest.raises(MalformedFileError, match=name):
        read_embedding_files(folder)
    (folder / name).unlink()
    with pytest.raises(ModelUnavailableError, match=name):
        read_embedding_files(folder)
