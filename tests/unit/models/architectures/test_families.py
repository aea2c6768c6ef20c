"""Every family equals transformers on tiny random weights, in each way that the engine runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.families import LENGTH, TINY, tiny_family
from support.gguf_models import write_gguf
from support.tiny import random_ids

from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.architectures.step import Part, Step
from openhearth.models.engine.engine import Engine
from openhearth.models.loading.convert import convert
from openhearth.models.loading.families import FAMILIES
from openhearth.models.loading.source import open_source
from openhearth.models.loading.store import ModelStore, Precision

CPU = torch.device("cpu")


def open_decoder(store_folder: Path, context: int) -> Decoder:
    store = ModelStore.open(store_folder)
    return build_decoder(
        store.config,
        store.tensors,
        store.manifest.linears,
        context=context,
        device=CPU,
        each=lambda build, indices: [build(index) for index in indices],
    )


def engine_logits(store: Path, ids: list[int]) -> torch.Tensor:
    engine = Engine.load(store, device="cpu", threads=1, context=len(ids), cache_mb=1)
    try:
        return engine.logits(ids)
    finally:
        engine.close()


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_equals_transformers(name: str, tmp_path: Path) -> None:
    """Three sequences and one that begins with the first's first block; prefill and decode share steps."""
    model = tiny_family(tmp_path / "checkpoint", name)
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="float32")
    length = TINY[name].length
    decoder = open_decoder(tmp_path / "store", length)
    texts = [random_ids(length, seed=seed) for seed in (1, 2, 3, 4)]
    texts[3][:32] = texts[0][:32]
    expected = model(torch.tensor(texts)).logits
    kv = decoder.new_store(12)
    blocks = [[4, 5, 6], [8, 2, 0], [3, 1, 7], [4, 9, 11]]
    read = [0, 0, 0, 32]
    found: list[list[torch.Tensor]] = [[expected[3, :32]] if index == 3 else [] for index in range(4)]
    for counts in ([length, 30, 20, 0], [0, 1, 1, 40], [0, 1, 50, 1], [0, 33, 1, 1], [0, 1, 1, 60], [0, 90, 90, 90]):
        parts = []
        for index, count in enumerate(counts):
            end = min(read[index] + count, length)
            if end > read[index]:
                ids = texts[index][read[index] : end]
                parts.append((index, Part(ids, read[index], blocks[index][: -(-end // 32)], wanted=len(ids))))
                read[index] = end
        if not parts:
            continue
        rows = decoder(Step.of([part for _, part in parts], CPU), kv)
        for (index, _), logits in zip(parts, rows.split([len(part.ids) for _, part in parts]), strict=True):
            found[index].append(logits)
    assert read == [length] * 4
    for index in range(4):
        torch.testing.assert_close(torch.cat(found[index]), expected[index], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, tiny in TINY.items() if tiny.gguf])
@torch.inference_mode()
def test_gguf_files_equal_transformers(name: str, tmp_path: Path) -> None:
    model = tiny_family(tmp_path / "checkpoint", name)
    write_gguf(model, tmp_path / "checkpoint", tmp_path / "model.gguf")
    convert(tmp_path / "model.gguf", tmp_path / "store", precision="float32")
    ids = random_ids(TINY[name].length)
    expected = model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(engine_logits(tmp_path / "store", ids), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_shards_equal_transformers(tmp_path: Path) -> None:
    """Experts of one layer lie in several files."""
    model = tiny_family(tmp_path / "whole", "qwen3moe")
    model.save_pretrained(tmp_path / "checkpoint", max_shard_size="60KB")
    (tmp_path / "whole" / "tokenizer.json").rename(tmp_path / "checkpoint" / "tokenizer.json")
    assert len(list((tmp_path / "checkpoint").glob("*.safetensors"))) > 3
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="float32")
    ids = random_ids(LENGTH)
    expected = model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(engine_logits(tmp_path / "store", ids), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "native"])
@pytest.mark.parametrize("name", ["gemma2", "olmo2", "qwen3moe", "stablelm", "smollm3"])
@torch.inference_mode()
def test_quantised_models_stay_near(name: str, precision: Precision, tmp_path: Path) -> None:
    model = tiny_family(tmp_path / "checkpoint", name)
    convert(tmp_path / "checkpoint", tmp_path / "store", precision=precision)
    ids = random_ids(LENGTH)
    expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    found = Solo(open_decoder(tmp_path / "store", LENGTH), LENGTH)(ids, every_row=True).log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert 0 < divergence < 0.02


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_text_part_of_a_model_with_eyes(prefix: str, tmp_path: Path) -> None:
    tiny_family(tmp_path, "gemma3")
    plain = open_source(tmp_path)
    expected = {name: plain.load(name) for name in plain.names()}
    plain.close()
    config = json.loads((tmp_path / "config.json").read_text())
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": config}
    (tmp_path / "config.json").write_text(json.dumps(outer))
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    seeing = {name.replace("model.", prefix, 1): tensor.clone() for name, tensor in tensors.items()}
    seeing["vision_tower.patches.weight"] = torch.ones(2, 2)
    safetensors.torch.save_file(seeing, tmp_path / "model.safetensors")
    source = open_source(tmp_path)
    assert source.config() == plain.config()
    assert all(torch.equal(source.load(name), tensor) for name, tensor in expected.items())
    source.close()


def test_every_family_is_here() -> None:
    kinds = {f"{tiny.kind}ForCausalLM" for tiny in TINY.values()}
    for family in FAMILIES.values():
        assert kinds & set(family.classes), family.name
    held = {f"{tiny.kind}ForCausalLM" for tiny in TINY.values() if tiny.gguf}
    for family in FAMILIES.values():
        assert not family.gguf or held & set(family.classes), family.name
