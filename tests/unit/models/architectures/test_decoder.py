"""The decoder equals transformers on tiny random models: all rows at once, row by row, and far into the context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import random_ids, tiny_model

from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.engine.cache import SequenceCache
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


def open_decoder(folder: Path, precision: Any = "float32") -> tuple[Decoder, SequenceCache]:
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
    return decoder, SequenceCache(store.config, 1024, CPU)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_equals_transformers(kind: str, tmp_path: Path) -> None:
    architecture, changes = KINDS[kind]
    model = tiny_model(tmp_path / "checkpoint", architecture, **changes)
    decoder, cache = open_decoder(tmp_path)
    ids = torch.tensor(random_ids(700))
    expected = model(ids[None]).logits[0]
    prefilled = decoder(ids[:600], cache, every_row=True)
    rows = [decoder(ids[i : i + 1], cache) for i in range(600, 640)]
    rest = decoder(ids[640:], cache, every_row=True)
    torch.testing.assert_close(torch.cat([prefilled, *rows, rest]), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_chunks_equal_the_whole(tmp_path: Path) -> None:
    tiny_model(tmp_path / "checkpoint", "qwen2")
    decoder, whole = open_decoder(tmp_path)
    ids = torch.tensor(random_ids(97))
    expected = decoder(ids, whole, every_row=True)
    cache = SequenceCache(decoder.config, 1024, CPU)
    pieces = [decoder(piece, cache, every_row=True) for piece in ids.split([1, 2, 60, 1, 33])]
    torch.testing.assert_close(torch.cat(pieces), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.1), ("int8", 0.05)])
@torch.inference_mode()
def test_lower_precisions_stay_near(precision: str, limit: float, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "checkpoint", "qwen2", initializer_range=0.1)
    decoder, cache = open_decoder(tmp_path, precision)
    ids = torch.tensor(random_ids(200))
    expected = model(ids[None]).logits[0].log_softmax(-1)
    found = decoder(ids, cache, every_row=True).log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert 0 < divergence < limit
