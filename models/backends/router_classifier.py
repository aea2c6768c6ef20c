"""Which route's examples a request is most like: logistic regression on embeddings.

Training takes milliseconds, embedding the examples a little longer. What was learned is kept in the cache folder under
a hash of everything it depends on, so that opening a router a second time embeds nothing but the request.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from openhearth import paths

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts to vectors [texts, size], each of length 1."""

_VERSION = 1
_STEPS = 300
_PENALTY = 0.02
_SHARPNESS = 8.0
"""Vectors of length 1 lie close together; spread by this factor, they let probabilities leave the middle."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """`weights` [names, size + 1]; the last column is added whatever the text is."""

    names: tuple[str, ...]
    weights: Vectors

    @classmethod
    def fit(cls, vectors: Vectors, labels: Sequence[str]) -> Self:
        """Learn from vectors [n, size] and the name of each; a name counts the same however many examples it has.

        Multinomial logistic regression with a quadratic penalty, by gradient descent with momentum from zero, and so
        the same every time.
        """
        names = tuple(sorted(set(labels)))
        counts = Counter(labels)
        wanted = np.array([[label == name for name in names] for label in labels], np.float32)
        share = np.array([[1 / (counts[label] * len(names))] for label in labels], np.float32)
        rows = _with_one(vectors)
        weights: Vectors = np.zeros((len(names), rows.shape[1]), np.float32)
        speed = np.zeros_like(weights)
        rate = 1.0 / (0.5 * _SHARPNESS**2 + 1 + _PENALTY)
        for _ in range(_STEPS):
            error = (_softmax(rows @ weights.T) - wanted) * share
            speed *= 0.9
            speed -= rate * (error.T @ rows + _PENALTY * weights)
            weights += speed
        return cls(names, weights)

    def scores(self, vector: Vectors) -> dict[str, float]:
        """The probability of each name for one vector [size]."""
        (row,) = _softmax(_with_one(vector[None]) @ self.weights.T)
        return {name: float(score) for name, score in zip(self.names, row, strict=True)}


def trained(examples: Mapping[str, Sequence[str]], embedding: str, embed: Embed) -> Classifier:
    """The classifier for the examples of each name, from the cache folder where it was learned before."""
    key = json.dumps([_VERSION, embedding, sorted((name, list(texts)) for name, texts in examples.items())])
    file = paths.cache_dir() / "routers" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    names = tuple(sorted(examples))
    kept = _kept(file)
    if kept is not None and len(kept) == len(names):
        return Classifier(names, kept)
    pairs = [(name, text) for name, texts in sorted(examples.items()) for text in texts]
    learned = Classifier.fit(embed([text for _, text in pairs]), [name for name, _ in pairs])
    _keep(file, learned.weights)
    return learned


def _kept(file: Path) -> Vectors | None:
    try:
        weights = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return weights if weights.ndim == 2 and weights.dtype == np.float32 and np.isfinite(weights).all() else None


def _keep(file: Path, weights: Vectors) -> None:
    """A cache that cannot be written costs time, nothing else."""
    try:
        paths.ensure_private(file.parent)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        with draft.open("wb") as out:
            np.save(out, weights, allow_pickle=False)
        draft.replace(file)
    except OSError:
        return


def _with_one(vectors: Vectors) -> Vectors:
    return np.hstack([_SHARPNESS * vectors, np.ones((len(vectors), 1), np.float32)]).astype(np.float32)


def _softmax(values: Vectors) -> Vectors:
    powers = np.exp(values - values.max(1, keepdims=True))
    result: Vectors = powers / powers.sum(1, keepdims=True)
    return result
