"""The catalog's embedding model equals transformers, and knows what belongs together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.texts import CODE, PROSE
from support.tiny_encoder import reference_vectors
from transformers import AutoModel

from openhearth.models.embedding.files import read_embedding_files
from openhearth.models.embedding.model import EmbeddingModel

TEXTS = [
    "How do I reset my password?",
    "I forgot my login and cannot get in.",
    "The ferry to the island leaves at nine.",
    "",
    "日本語と 😀 and \x00 control\tcharacters, ÀÉÎ",
    CODE,
    *PROSE.split(". "),
    PROSE * 10,
]


def test_minilm_equals_transformers(minilm_store: Path) -> None:
    model = EmbeddingModel.load(minilm_store, device="cpu")
    embedded = model.embed_sync(TEXTS)
    model.close()
    assert embedded.vectors.shape == (len(TEXTS), 384)
    assert [number for number, dropped in enumerate(embedded.dropped) if dropped] == [len(TEXTS) - 1]
    tokenizer = read_embedding_files(minilm_store).tokenizer
    reference = AutoModel.from_pretrained(minilm_store).eval()
    expected = reference_vectors(reference, [tokenizer.encode(text).ids for text in TEXTS])
    assert torch.allclose(torch.from_numpy(embedded.vectors), expected, atol=1e-5, rtol=0)


def test_minilm_knows_what_belongs_together(minilm_store: Path) -> None:
    model = EmbeddingModel.load(minilm_store, device="cpu")
    forgot, lost, ferry = model.embed_sync(TEXTS[:3]).vectors
    model.close()
    assert np.dot(forgot, lost) > np.dot(forgot, ferry) + 0.3
