"""The decoder in one native call: near the torch path over the same weights, and the same bits however it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.engines import collect, request
from support.kernels import levels_of
from support.tiny import random_ids, tiny_model

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.architectures.native import NativeDecoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.architectures.step import Part, Step
from openhearth.models.engine.engine import Engine
from openhearth.models.kernels.library import library
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import ModelStore

CPU = torch.device("cpu")
SIZES = {"hidden_size": 96, "intermediate_size": 160, "head_dim": 16}


@pytest.fixture
def restored() -> Iterator[None]:
    """The best level is in use again afterwards."""
    yield
    found = library()
    if found is not None:
        levels_of(found)


def decoder(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None, **changes: Any) -> BaseDecoder:
    """With `monkeypatch`, the torch path over the same weights."""
    if not (folder / "store").exists():
        tiny_model(folder / "checkpoint", "qwen2", **{**SIZES, **changes})
        convert(folder / "checkpoint", folder / "store", precision="native")
    store = ModelStore.open(folder / "store")
    if monkeypatch is not None:
        monkeypatch.setattr("openhearth.models.architectures.decoder.runs_natively", lambda *_: False)
    built = build_decoder(
        store.config,
        store.tensors,
        store.manifest.linears,
        context=1024,
        device=CPU,
        each=lambda build, indices: [build(index) for index in indices],
    )
    if library() is not None:
        assert isinstance(built, NativeDecoder if monkeypatch is None else Decoder)
    return built


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 6}, {"num_key_value_heads": 1}, {"head_dim": 48}])
@torch.inference_mode()
def test_near_the_torch_path(changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = random_ids(90)
    native = decoder(tmp_path, **changes)
    found = Solo(native, 128)(ids, every_row=True)
    expected = Solo(decoder(tmp_path, monkeypatch), 128)(ids, every_row=True).log_softmax(-1)
    assert float((expected.exp() * (expected - found.log_softmax(-1))).sum(-1).mean()) < 2e-3


@torch.inference_mode()
def test_the_same_bits_in_every_company_and_nearly_so_on_every_level(tmp_path: Path, restored: None) -> None:
    native = decoder(tmp_path)
    texts = [random_ids(70, seed=1), random_ids(37, seed=2), random_ids(5, seed=3)]
    alone = [Solo(native, 128)(text, every_row=True) for text in texts]
    row_by_row = Solo(native, 128)
    assert torch.equal(torch.cat([row_by_row([token]) for token in texts[1]]), alone[1])
    kv = native.new_store(8)
    blocks = ([6, 1, 3], [7, 2], [5])
    parts = [Part(text, 0, taken, len(text)) for text, taken in zip(texts, blocks, strict=True)]
    assert torch.equal(native(Step.of(parts, CPU), kv), torch.cat(alone))
    found = library()
    if found is None:
        return
    for level in levels_of(found):
        found.hearth_use(level.encode())
        torch.testing.assert_close(Solo(native, 128)(texts[0], every_row=True), alone[0], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_decode_of_several_sequences_and_no_wanted_rows(tmp_path: Path) -> None:
    native = decoder(tmp_path)
    texts = [random_ids(40, seed=seed) for seed in range(3)]
    solos = [Solo(native, 64) for _ in texts]
    expected = [torch.cat([solo([token]) for token in text]) for solo, text in zip(solos, texts, strict=True)]
    kv = native.new_store(6)
    blocks = ([0, 5], [1, 3], [4, 2])
    assert native(Step.of([Part(t[:39], 0, b, 0) for t, b in zip(texts, blocks, strict=True)], CPU), kv).shape[0] == 0
    last = [Part(t[39:], 39, b) for t, b in zip(texts, blocks, strict=True)]
    assert torch.equal(native(Step.of(last, CPU), kv), torch.stack([rows[-1] for rows in expected]))


def test_a_fork_in_the_middle_of_a_block_answers_as_if_alone(tmp_path: Path) -> None:
    decoder(tmp_path)
    first, second = random_ids(60, seed=1), random_ids(60, seed=2)
    forks = [first[:at] + second[at:] for at in (5, 17, 32, 45)]

    def load() -> Engine:
        return Engine.load(tmp_path / "store", device="cpu", threads=1, context=256)

    alone = []
    for fork in forks:
        engine = load()
        alone.append(collect(engine, request(fork, 12))[0])
        engine.close()
    engine = load()
    collect(engine, request(first, 12))
    for fork, expected in zip(forks, alone, strict=True):
        found, finished = collect(engine, request(fork, 12))
        assert finished.usage.cached_tokens > 0
        assert found == expected
    engine.close()
