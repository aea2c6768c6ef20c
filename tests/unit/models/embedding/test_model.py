"""Embedding texts: what transformers says, in order, whoever asks at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_encoder import LIMIT, WORDS, reference_vectors, tiny_encoder

from openhearth.config import load_settings
from openhearth.errors import CancelledError, ContextOverflowError, ModelUnavailableError
from openhearth.models.embedding.files import read_embedding_files
from openhearth.models.embedding.model import EmbeddingModel

TEXTS = [" ".join(WORDS[n % 7 : n % 7 + n % 9]) for n in range(70)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    tiny_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[EmbeddingModel]:
    model = EmbeddingModel.load(folder, device="cpu", threads=2)
    yield model
    model.close()


@pytest.mark.parametrize("changes", [{}, {"hidden_act": "relu"}, {"num_attention_heads": 1, "type_vocab_size": 1}])
def test_it_equals_transformers(tmp_path: Path, changes: dict[str, object]) -> None:
    reference = tiny_encoder(tmp_path, **changes)
    texts = [*TEXTS, "", "zebra quartz", "fog " * LIMIT]
    model = EmbeddingModel.load(tmp_path, device="cpu", threads=2)
    embedded = model.embed_sync(texts)
    model.close()
    tokenizer = read_embedding_files(tmp_path).tokenizer
    expected = reference_vectors(reference, [tokenizer.encode(text).ids for text in texts])
    assert embedded.vectors.dtype == np.float32
    assert torch.allclose(torch.from_numpy(embedded.vectors), expected, atol=1e-5, rtol=0)
    assert np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-6)


def test_no_texts_have_no_vectors(model: EmbeddingModel) -> None:
    embedded = model.embed_sync([])
    assert embedded.vectors.shape == (0, model.size)
    assert embedded.tokens == embedded.dropped == ()


def test_the_first_token_may_stand_for_the_text(tmp_path: Path, model: EmbeddingModel) -> None:
    tiny_encoder(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    first = EmbeddingModel.load(tmp_path, device="cpu", threads=1)
    vectors = first.embed_sync(["the fog"]).vectors
    first.close()
    assert np.allclose(np.linalg.norm(vectors), 1, atol=1e-6)
    assert not np.allclose(vectors, model.embed_sync(["the fog"]).vectors, atol=1e-3)


def test_what_is_cut_is_told(model: EmbeddingModel) -> None:
    embedded = model.embed_sync(["fog", "fog " * LIMIT, "fog " * (LIMIT - 2)])
    assert embedded.tokens == (3, LIMIT, LIMIT)
    assert embedded.dropped == (0, 2, 0)
    assert np.allclose(embedded.vectors[1], embedded.vectors[2], atol=1e-6)


def test_what_is_too_long_can_be_refused(model: EmbeddingModel) -> None:
    assert model.embed_sync(["fog " * (LIMIT - 2)], cut=False).dropped == (0,)
    with pytest.raises(ContextOverflowError, match=f"Text 1 has {LIMIT + 2} tokens"):
        model.embed_sync(["fog", "fog " * LIMIT], cut=False)


async def test_concurrent_calls_do_not_mix(model: EmbeddingModel) -> None:
    alone = [model.embed_sync(TEXTS[start:]).vectors for start in range(6)]
    together = await asyncio.gather(*(model.embed(TEXTS[start:]) for start in range(6)))
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one, other.vectors, atol=1e-6)


def test_progress_counts_texts(model: EmbeddingModel) -> None:
    steps: list[tuple[str, int, int]] = []
    model.embed_sync(TEXTS * 10, progress=lambda *step: steps.append(step))
    assert {step[2] for step in steps} == {700}
    counts = [step[1] for step in steps]
    assert len(counts) > 2
    assert counts == sorted(counts)
    assert counts[-1] == 700


def test_cancelling_stops_before_the_end(model: EmbeddingModel) -> None:
    cancel = threading.Event()
    steps: list[int] = []

    def progress(_: str, done: int, __: int) -> None:
        steps.append(done)
        cancel.set()

    with pytest.raises(CancelledError):
        model.embed_sync(TEXTS * 10, progress=progress, cancel=cancel)
    assert len(steps) == 1
    assert len(model.embed_sync(TEXTS).vectors) == len(TEXTS)


async def test_cancelling_the_task_ends_the_work(model: EmbeddingModel) -> None:
    ended = threading.Event()
    counts: list[int] = []

    def progress(_: str, done: int, __: int) -> None:
        counts.append(done)
        if len(counts) == 1:
            started.set()
            ended.wait(5)

    started = threading.Event()
    task = asyncio.create_task(model.embed(TEXTS * 10, progress=progress))
    await asyncio.to_thread(started.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ended.set()
    await model.embed(TEXTS)
    assert len(counts) == 1


def test_a_closed_model_says_so(folder: Path) -> None:
    model = EmbeddingModel.load(folder, device="cpu", threads=1)

    def close(_: str, __: int, ___: int) -> None:
        model.close()

    with pytest.raises(ModelUnavailableError, match="closed"):
        model.embed_sync(TEXTS * 10, progress=close)
    with pytest.raises(ModelUnavailableError, match="closed"):
        model.embed_sync(["fog"])
    model.close()


def test_references_that_embed(folder: Path) -> None:
    model = EmbeddingModel.open(str(folder), load_settings({"model": {"device": "cpu", "threads": 1}}))
    assert model.embed_sync(["fog"]).vectors.shape == (1, model.size)
    model.close()


@pytest.mark.parametrize(
    ("reference", "said"),
    [("smollm2-135m", "does not embed"), ("scripted:x", "does not embed"), ("minilm", "not on this machine")],
)
def test_references_that_do_not(reference: str, said: str) -> None:
    with pytest.raises(ModelUnavailableError, match=said):
        EmbeddingModel.open(reference, load_settings({"model": {"auto_pull": False}}))
