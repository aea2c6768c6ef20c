from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from tokenizers import Tokenizer, models

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.source import open_source
from openhearth.models.loading.tensors import checkpoint_tensors

Writer = Callable[..., Path]


@pytest.mark.parametrize(
    ("architecture", "tied"), [("llama", True), ("llama", False), ("qwen2", True), ("qwen2", False)]
)
def test_gguf_weights_arrive_in_hugging_faces_layout(tiny_gguf: Writer, architecture: str, tied: bool) -> None:
    path = tiny_gguf(architecture, tied=tied, pre="qwen2")
    source = open_source(path)
    try:
        assert dict.fromkeys(source.names()) == dict.fromkeys(name for name, _ in checkpoint_tensors(source.config()))
        for name in source.names():
            tensor = source.load(name)
            assert tensor.dtype == torch.float32
            assert tuple(tensor.shape) == source.shape(name)
        assert ("lm_head.weight" in source.names()) == (not tied)
        assert source.chat_template() == "{{ messages }}"
        assert source.tokenizer().encode("hello").tokens == ["hello"]
    finally:
        source.close()


def to_gguf_rows(weights: torch.Tensor, heads: int) -> np.ndarray[Any, Any]:
    """What llama.cpp's converter does to the query and key weights of `llama` models."""
    half = weights.shape[0] // heads // 2
    return weights.view(heads, 2, half, -1).transpose(1, 2).reshape(weights.shape).numpy()


def test_llama_queries_and_keys_are_put_back_in_order(tiny_gguf: Writer) -> None:
    query, key = torch.arange(32.0 * 32).view(32, 32), torch.arange(16.0 * 32).view(16, 32)
    names = ["blk.0.attn_q.weight", "blk.0.attn_k.weight"]
    extra = {names[0]: to_gguf_rows(query, 4), names[1]: to_gguf_rows(key, 2)}
    source = open_source(tiny_gguf(leave_out=names, extra=extra))
    assert torch.equal(source.load("model.layers.0.self_attn.q_proj.weight"), query)
    assert torch.equal(source.load("model.layers.0.self_attn.k_proj.weight"), key)
    source.close()
    source = open_source(tiny_gguf("qwen2", leave_out=names, extra=extra, pre="qwen2"))
    assert torch.equal(source.load("model.layers.0.self_attn.q_proj.weight"), torch.from_numpy(extra[names[0]]))
    source.close()


def test_gguf_tensors_that_do_not_fit_the_metadata(tiny_gguf: Writer) -> None:
    with pytest.raises(MalformedFileError, match=r"lacks the tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        open_source(tiny_gguf(leave_out=["blk.1.ffn_up.weight"]))
    with pytest.raises(MalformedFileError, match="its metadata say"):
        open_source(tiny_gguf(metadata={"llama.feed_forward_length": 96}))
    with pytest.raises(MalformedFileError, match="holds tensors that its metadata do not"):
        open_source(tiny_gguf(metadata={"llama.block_count": 1}))
    with pytest.raises(MalformedFileError, match="q_norm"):
        open_source(tiny_gguf(extra={"blk.0.attn_q_norm.weight": np.ones(8, np.float32)}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Qwen2 as transformers saves it, with a tokenizer."""
    config = transformers.Qwen2Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        eos_token_id=3,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[])).save(str(folder / "tokenizer.json"))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(folder / "model.safetensors")
    return {name: tensor.clone() for name, tensor in tensors.items()}


def shard(folder: Path, placed: dict[str, str] | None = None) -> None:
    """Split the weights over two files, with an index; `placed` changes where the index says that tensors lie."""
    tensors = weights(folder)
    names = sorted(tensors)
    places = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in ("part-0.safetensors", "part-1.safetensors"):
        safetensors.torch.save_file({n: tensors[n] for n in names if places[n] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": places | (placed or {})}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("form", ["folder", "file", "other name", "shards"])
def test_safetensors_in_every_form(folder: Path, form: str) -> None:
    expected = weights(folder)
    path = folder
    if form == "file":
        path = folder / "model.safetensors"
    elif form == "other name":
        (folder / "model.safetensors").rename(folder / "weights.safetensors")
    elif form == "shards":
        shard(folder)
    source = open_source(path)
    assert dict.fromkeys(source.names()) == dict.fromkeys(expected)
    assert all(torch.equal(source.load(name), expected[name]) for name in expected)
    assert source.config().eos_ids == (3,)
    assert source.tokenizer().get_vocab_size() == 2
    source.close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_float_types_become_float32(folder: Path, dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in weights(folder).items()}
    safetensors.torch.save_file(stored, folder / "model.safetensors")
    source = open_source(folder)
    for name in source.names():
        assert torch.equal(source.load(name), stored[name].float())
    source.close()


def test_superfluous_tensors_are_passed_over(folder: Path) -> None:
    tensors = weights(folder) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    source = open_source(folder)
    assert "lm_head.weight" not in source.names()
    assert not [name for name in source.names() if "inv_freq" in name]
    source.close()


def test_chat_template_from_each_place(folder: Path) -> None:
    def template() -> str | None:
        source = open_source(folder)
        source.close()
        return source.chat_template()

    assert template() is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "one"}))
    assert template() == "one"
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "two"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert template() == "two"
    (folder / "chat_template.jinja").write_text("three")
    assert template() == "three"


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/../b", "..", ".", "", "sub/x.safetensors", "a\\b", "\0"]
)
def test_an_index_cannot_name_files_elsewhere(folder: Path, name: str) -> None:
    safetensors.torch.save_file(weights(folder), folder.parent / "secret.safetensors")
    shard(folder, {"model.norm.weight": name})
    with pytest.raises(MalformedFileError, match="is not a file name"):
        open_source(folder)


def test_damaged_indexes(folder: Path) -> None:
    shard(folder, {"model.norm.weight": "part-7.safetensors"})
    with pytest.raises(ModelUnavailableError, match="part-7"):
        open_source(folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    places = content["weight_map"]
    places["model.norm.weight"] = ({"part-0.safetensors", "part-1.safetensors"} - {_place(folder)}).pop()
    index.write_text(json.dumps(content))
    with pytest.raises(MalformedFileError, match=r"does not hold 'model\.norm\.weight'"):
        open_source(folder)
    for broken in ("{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[", ""):
        index.write_text(broken)
        with pytest.raises(MalformedFileError):
            open_source(folder)


def _place(folder: Path) -> str:
    for file in folder.glob("part-*.safetensors"):
        if "model.norm.weight" in safetensors.torch.load_file(file):
            return file.name
    raise AssertionError


def test_safetensors_that_do_not_fit_the_config(folder: Path) -> None:
    tensors = weights(folder)
    file = folder / "model.safetensors"
    safetensors.torch.save_file({n: t for n, t in tensors.items() if n != "model.norm.weight"}, file)
    with pytest.raises(MalformedFileError, match=r"lacks the tensor model\.norm\.weight"):
        open_source(folder)
    safetensors.torch.save_file(tensors | {"model.norm.weight": torch.ones(31)}, file)
    with pytest.raises(MalformedFileError, match=r"config\.json says"):
        open_source(folder)
    safetensors.torch.save_file(tensors | {"model.layers.0.extra": torch.ones(1)}, file)
    with pytest.raises(ModelUnavailableError, match=r"model\.layers\.0\.extra"):
        open_source(folder)
    safetensors.torch.save_file(tensors | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}, file)
    with pytest.raises(ModelUnavailableError, match="quantised weights"):
        open_source(folder)


def test_what_cannot_be_opened(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="There is no"):
        open_source(tmp_path / "none.gguf")
    (tmp_path / "model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelUnavailableError, match="not a model file"):
        open_source(tmp_path / "model.bin")
    with pytest.raises(ModelUnavailableError, match=r"config\.json"):
        open_source(tmp_path)
    (folder / "second.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").rename(folder / "first.safetensors")
    with pytest.raises(ModelUnavailableError, match="2 safetensors files"):
        open_source(folder)
    (folder / "first.safetensors").unlink()
    (folder / "second.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="no safetensors file"):
        open_source(folder)


def test_damaged_tokenizer(folder: Path) -> None:
    source = open_source(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(MalformedFileError, match=r"tokenizer\.json"):
        source.tokenizer()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailableError, match=r"tokenizer\.json"):
        source.tokenizer()
    source.close()
