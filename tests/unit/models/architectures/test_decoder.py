"""The decoder equals transformers on tiny random models: all rows at once, row by row, and far into the context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import random_ids, tiny_model

from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.architectures.step import Part, Step
from openhearth.models.layers.paged import BLOCK
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import ModelStore

CPU = torch.device("cpu")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
    "rope_theta": 10000.0,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, one key head a query head": ("llama", {"num_key_value_heads": 6}),
    "llama, one key head for all": ("llama", {"num_key_value_heads": 1}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, wide heads": ("llama", {"head_dim": 16}),
    "llama, scaled as llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "llama, scaled linearly": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "llama, scaled by yarn": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 256,
                "rope_theta": 10000.0,
            }
        },
    ),
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True, "rms_norm_eps": 1e-4}),
    "qwen2, other base": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
}


def open_decoder(folder: Path, precision: Any = "float32") -> tuple[Decoder, Solo]:
    convert(folder / "checkpoint", folder / "store", precision=precision)
    store = ModelStore.open(folder / "store")
    decoder = build_decoder(
        store.config,
        store.tensors,
        store.manifest.linears,
        context=1024,
        device=CPU,
        each=lambda build, indices: [build(index) for index in indices],
    )
    return decoder, Solo(decoder, 1024)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_equals_transformers(kind: str, tmp_path: Path) -> None:
    architecture, changes = KINDS[kind]
    model = tiny_model(tmp_path / "checkpoint", architecture, **changes)
    _, solo = open_decoder(tmp_path)
    ids = torch.tensor(random_ids(700))
    expected = model(ids[None]).logits[0]
    prefilled = solo(ids[:600], every_row=True)
    rows = [solo(ids[i : i + 1]) for i in range(600, 640)]
    rest = solo(ids[640:], every_row=True)
    torch.testing.assert_close(torch.cat([prefilled, *rows, rest]), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_chunks_equal_the_whole(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint", "qwen2")
    decoder, whole = open_decoder(tmp_path)
    ids = torch.tensor(random_ids(97))
    expected = whole(ids, every_row=True)
    solo = Solo(decoder, 1024)
    pieces = [solo(piece, every_row=True) for piece in ids.split([1, 2, 60, 1, 33])]
    torch.testing.assert_close(torch.cat(pieces), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.1), ("int8", 0.05), ("native", 0.05)])
@torch.inference_mode()
def test_lower_precisions_stay_near(precision: str, limit: float, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "checkpoint", "qwen2", initializer_range=0.1)
    _, solo = open_decoder(tmp_path, precision)
    ids = torch.tensor(random_ids(200))
    expected = model(ids[None]).logits[0].log_softmax(-1)
    found = solo(ids, every_row=True).log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert 0 < divergence < limit


@torch.inference_mode()
def test_several_sequences_in_scattered_blocks(tmp_path: Path) -> None:
    """Prefill and decode rows of three sequences share each step; one lies in a row, the others are scattered."""
    tiny_model(tmp_path / "checkpoint", "qwen2")
    decoder, _ = open_decoder(tmp_path)
    texts = [random_ids(90, seed=seed) for seed in (1, 2, 3)]
    blocks = [[4, 5, 6], [8, 2, 0], [3, 1, 7]]
    expected = [Solo(decoder, 90)(text, every_row=True) for text in texts]
    kv = decoder.new_store(9)
    read = [0, 0, 0]
    found: list[list[torch.Tensor]] = [[], [], []]
    for counts in ([1, 40, 7], [33, 1, 1], [BLOCK, 1, 20], [24, 48, 1], [0, 0, 61]):
        members = [index for index, count in enumerate(counts) if count]
        parts = []
        for index in members:
            end = read[index] + counts[index]
            ids = texts[index][read[index] : end]
            parts.append(Part(ids, read[index], blocks[index][: -(-end // BLOCK)], wanted=len(ids)))
            read[index] = end
        rows = decoder(Step.of(parts, CPU), kv).split([counts[index] for index in members])
        for index, logits in zip(members, rows, strict=True):
            found[index].append(logits)
    assert read == [90, 90, 90]
    for logits, solo in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.cat(logits), solo, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_only_wanted_rows_have_logits(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint")
    decoder, solo = open_decoder(tmp_path)
    first, second = random_ids(9, seed=1), random_ids(5, seed=2)
    parts = [Part(first, 0, [0], wanted=2), Part(second, 0, [1], wanted=0), Part(second, 0, [2], wanted=1)]
    found = decoder(Step.of(parts, CPU), decoder.new_store(3))
    expected = torch.cat([solo(first, every_row=True)[-2:], Solo(decoder, 5)(second)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
