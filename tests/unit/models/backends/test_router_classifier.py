"""Logistic regression on vectors, and its cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth import paths
from openhearth.models.backends.router_classifier import Classifier, Vectors, trained

EXAMPLES = {"small": ["hello", "thanks"], "large": ["code", "query", "proof"]}


def unit(vectors: Vectors) -> Vectors:
    result: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return result


def clusters(seed: int, names: Sequence[str], each: Sequence[int], noise: float = 0.05) -> tuple[Vectors, list[str]]:
    """Vectors around one direction for each name."""
    random = np.random.default_rng(seed)
    centres = np.eye(len(names), 24, dtype=np.float32)
    rows = [centre + noise * random.standard_normal((n, 24)) for centre, n in zip(centres, each, strict=True)]
    return unit(np.concatenate(rows).astype(np.float32)), [
        n for n, count in zip(names, each, strict=True) for _ in range(count)
    ]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), each=st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_clusters_are_told_apart_however_many_examples_each_has(seed: int, each: list[int]) -> None:
    names = [f"route{number}" for number in range(len(each))]
    classifier = Classifier.fit(*clusters(seed, names, each))
    vectors, labels = clusters(seed + 1, names, [3] * len(names))
    for vector, label in zip(vectors, labels, strict=True):
        scores = classifier.scores(vector)
        assert max(scores, key=lambda name: scores[name]) == label
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        assert all(0 <= score <= 1 for score in scores.values())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), order=st.permutations(range(9)))
def test_the_order_of_the_examples_does_not_matter(seed: int, order: list[int]) -> None:
    vectors, labels = clusters(seed, ["a", "b"], [4, 5], noise=0.3)
    one = Classifier.fit(vectors, labels).scores(vectors[0])
    other = Classifier.fit(vectors[order], [labels[at] for at in order]).scores(vectors[0])
    assert one == pytest.approx(other, abs=1e-4)


def test_between_two_clusters_it_is_unsure() -> None:
    vectors = unit(np.eye(2, 24, dtype=np.float32))
    scores = Classifier.fit(vectors, ["a", "b"]).scores(unit(vectors.sum(0)))
    assert scores["a"] == pytest.approx(0.5, abs=0.01)


class Embedder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return unit(np.array([[len(text), text.count("o"), 1] for text in texts], np.float32))


def test_what_was_learned_is_kept_until_something_changes() -> None:
    embed = Embedder()
    first = trained(EXAMPLES, "minilm", embed)
    assert sorted(embed.asked) == ["code", "hello", "proof", "query", "thanks"]
    again = trained(dict(reversed(EXAMPLES.items())), "minilm", embed)
    assert len(embed.asked) == 5
    assert again.names == first.names == ("large", "small")
    assert np.array_equal(again.weights, first.weights)
    trained({**EXAMPLES, "small": ["hello", "bye"]}, "minilm", embed)
    assert len(embed.asked) == 10
    trained(EXAMPLES, "other", embed)
    assert len(embed.asked) == 15


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_is_learned_anew(content: bytes) -> None:
    embed = Embedder()
    expected = trained(EXAMPLES, "minilm", embed)
    (file,) = (paths.cache_dir() / "routers").iterdir()
    file.write_bytes(content)
    assert np.array_equal(trained(EXAMPLES, "minilm", embed).weights, expected.weights)
    assert len(embed.asked) == 10


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    paths.cache_dir().parent.mkdir(parents=True, exist_ok=True)
    paths.cache_dir().write_text("a file where a folder should be", encoding="utf-8")
    embed = Embedder()
    trained(EXAMPLES, "minilm", embed)
    trained(EXAMPLES, "minilm", embed)
    assert len(embed.asked) == 10
