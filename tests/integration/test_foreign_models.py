"""Models that only transformers knows run on the engine's blocks, and what cannot is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support.tiny import random_ids, tiny_tokenizer

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.architectures.foreign import build_foreign
from openhearth.models.architectures.step import Part, Step
from openhearth.models.engine.engine import Engine
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import ModelStore

CPU = torch.device("cpu")
LENGTH = 64
SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {"intermediate_size": 96, "num_key_value_heads": 2}
RUN: dict[str, dict[str, Any]] = {
    "GPTNeoX": {"intermediate_size": 96},
    "OPT": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "Phi": {"intermediate_size": 96},
    "Cohere2": GROUPED | {"sliding_window": 16},
    "Mixtral": GROUPED | {"num_local_experts": 4},
    "StableLm": GROUPED | {"use_parallel_residual": True, "qk_layernorm": True},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Mamba": ({}, "0 layers of attention"),
    "Bloom": ({}, "0 layers of attention"),
    "Falcon": ({}, "an attention of its own"),
    "GptOss": (GROUPED | {"num_local_experts": 4, "head_dim": 16}, "attention sinks"),
    "DeepseekV3": (
        GROUPED
        | {"num_key_value_heads": 4, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
        | {"kv_lora_rank": 16, "q_lora_rank": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}
        | {"topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
        "another shape than its keys",
    ),
}


def checkpoint(folder: Path, kind: str, changes: dict[str, Any]) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **changes})
    model: transformers.PreTrainedModel = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return model


@pytest.mark.parametrize("kind", RUN)
@torch.inference_mode()
def test_equals_transformers(kind: str, tmp_path: Path) -> None:
    """Prefill, decode and a shared beginning in the same steps; blocks lie scattered."""
    model = checkpoint(tmp_path / "checkpoint", kind, RUN[kind])
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="float32")
    store = ModelStore.open(tmp_path / "store")
    decoder = build_foreign(store.config, store.tensors, device=CPU)
    first, second = random_ids(LENGTH, seed=1), random_ids(LENGTH, seed=2)
    third = [*first[:32], *second[32:]]
    expected = model(torch.tensor([first, second, third])).logits
    kv = decoder.new_store(6)
    blocks = {0: [4, 1], 1: [0, 5], 2: [4, 3]}
    texts = (first, second, third)
    for pieces in ([(0, 0, 64), (1, 0, 20)], [(1, 20, 21), (2, 32, 60)], [(1, 21, 64), (2, 60, 61)], [(2, 61, 64)]):
        parts = [Part(texts[text][a:b], a, blocks[text], wanted=b - a) for text, a, b in pieces]
        rows = decoder(Step.of(parts, CPU), kv).split([b - a for _, a, b in pieces])
        for (text, a, b), logits in zip(pieces, rows, strict=True):
            torch.testing.assert_close(logits, expected[text, a:b], atol=1e-4, rtol=1e-4)


def test_the_engine_runs_one(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint", "GPTNeoX", RUN["GPTNeoX"])
    convert(tmp_path / "checkpoint", tmp_path / "store", precision="int8")
    engine = Engine.load(tmp_path / "store", device="cpu")
    try:
        assert engine.precision == "bfloat16"
        assert engine.context_length == LENGTH
        assert engine.config.eos_ids == (2,)
        ids = random_ids(20)
        assert torch.equal(engine.logits(ids).argmax(-1)[:10], engine.logits(ids[:10]).argmax(-1))
    finally:
        engine.close()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_run_is_refused(kind: str, tmp_path: Path) -> None:
    changes, why = REFUSED[kind]
    checkpoint(tmp_path / "checkpoint", kind, changes)
    with pytest.raises(ModelUnavailableError, match=why) as caught:
        convert(tmp_path / "checkpoint", tmp_path / "store")
    assert "docs/models.md" in caught.value.hint
    assert not (tmp_path / "store").exists()


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_nonsense_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    checkpoint(folder, "GPTNeoX", RUN["GPTNeoX"])
    original = (folder / "config.json").read_text()
    for changes, error, problem in (
        ({"model_type": "no_such_model"}, ModelUnavailableError, "no_such_model"),
        ({"model_type": 7}, ModelUnavailableError, "7"),
        ({"model_type": "t5"}, ModelUnavailableError, "not a decoder"),
        ({"num_hidden_layers": 3}, MalformedFileError, "lack"),
        ({"hidden_size": 32}, MalformedFileError, "weights"),
        ({"hidden_size": "wide"}, MalformedFileError, "config"),
    ):
        (folder / "config.json").write_text(original)
        edit(folder / "config.json", **changes)
        with pytest.raises(error, match=problem):
            convert(folder, tmp_path / "store")
