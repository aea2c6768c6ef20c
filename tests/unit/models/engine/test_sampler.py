"""The sampler's properties, against a slow and plain reading of the same rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth.models.engine.sampler import Sampler, logprob
from openhearth.types import Sampling

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=40)


def words(allowed: set[int], size: int) -> torch.Tensor:
    bits = np.zeros(-(-size // 32) * 32, dtype=np.uint8)
    bits[sorted(allowed)] = 1
    return torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))


def kept(logits: list[float], sampling: Sampling) -> dict[int, float]:
    """What may be drawn, with its probability: top-k, then top-p, then min-p."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    order = order[: sampling.top_k or len(order)]
    weights = {i: math.exp(logits[i] / sampling.temperature) for i in order}
    total = sum(weights.values())
    result: dict[int, float] = {}
    before = 0.0
    for i in order:
        share = weights[i] / total
        if result and (before >= sampling.top_p or share < sampling.min_p * weights[order[0]] / total):
            break
        result[i] = share
        before += share
    whole = sum(result.values())
    return {i: share / whole for i, share in result.items()}


@given(logits=LOGITS)
def test_temperature_zero_is_the_best(logits: list[float]) -> None:
    token = Sampler(Sampling(), []).sample(torch.tensor(logits))
    assert logits[token] == max(logits)


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.integers(-512, 512).map(lambda n: n / 64), min_size=2, max_size=40, unique=True),
    sampling=st.builds(
        Sampling,
        temperature=st.floats(0.1, 3),
        top_k=st.integers(0, 10),
        top_p=st.floats(0.05, 1),
        min_p=st.floats(0, 0.9),
        seed=st.integers(0, 1000),
    ),
)
def test_only_what_the_cuts_leave_is_drawn(logits: list[float], sampling: Sampling) -> None:
    allowed = kept(logits, sampling)
    slack = kept(logits, sampling.model_copy(update={"top_p": min(1.0, sampling.top_p + 1e-4)}))
    sampler = Sampler(sampling, [])
    for _ in range(20):
        assert sampler.sample(torch.tensor(logits)) in allowed | slack


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1, seed=5),
        Sampling(temperature=0.7, top_p=0.9, seed=5),
        Sampling(temperature=1.3, top_k=4, min_p=0.1, seed=5),
    ],
)
def test_frequencies_are_the_probabilities(sampling: Sampling) -> None:
    logits = [1.0, 0.3, -0.5, 2.0, 0.0, -3.0, 1.4]
    sampler = Sampler(sampling, [])
    draws = 4000
    counts = [0] * len(logits)
    for _ in range(draws):
        counts[sampler.sample(torch.tensor(logits))] += 1
    expected = kept(logits, sampling)
    for token, count in enumerate(counts):
        share = expected.get(token, 0.0)
        assert abs(count / draws - share) <= 4.5 * math.sqrt(share * (1 - share) / draws)


@pytest.mark.parametrize("changes", [{}, {"top_p": 0.95}, {"min_p": 0.02}, {"top_k": 50}])
def test_large_vocabularies_and_flat_distributions(changes: dict[str, float]) -> None:
    flat = torch.linspace(0, 1e-3, 30_000)
    sampler = Sampler(Sampling(temperature=1, seed=3, **changes), [])  # type: ignore[arg-type]
    drawn = [sampler.sample(flat.clone()) for _ in range(60)]
    assert len(set(drawn)) > 30
    if changes.get("top_k"):
        assert min(drawn) >= 30_000 - 50
    else:
        # More than the thousand best candidates are in play.
        assert min(drawn) < 20_000


@given(seed=st.integers(0, 2**64))
@settings(max_examples=20, deadline=None)
def test_a_seed_repeats(seed: int) -> None:
    logits = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(temperature=1, top_p=0.9, seed=seed)
    first, second = Sampler(sampling, []), Sampler(sampling, [])
    assert [first.sample(logits.clone()) for _ in range(8)] == [second.sample(logits.clone()) for _ in range(8)]


def test_without_a_seed_draws_differ() -> None:
    logits = torch.zeros(100_000)
    assert len({Sampler(Sampling(temperature=1), []).sample(logits.clone()) for _ in range(5)}) > 1


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 130), temperature=st.sampled_from([0.0, 1.0]))
def test_the_mask_is_obeyed(data: st.DataObject, size: int, temperature: float) -> None:
    allowed = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    sampler = Sampler(Sampling(temperature=temperature, seed=0), [])
    logits = torch.randn(size, generator=torch.Generator().manual_seed(size))
    best = max(allowed, key=lambda i: float(logits[i]))
    token = sampler.sample(logits, words(allowed, size))
    assert token in allowed
    if temperature == 0:
        assert token == best


def test_tokens_beyond_a_short_mask_are_forbidden() -> None:
    logits = torch.zeros(100)
    logits[99] = 5
    assert Sampler(Sampling(), []).sample(logits, words({7}, 32)) == 7


def test_repetition_penalty() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), [0])
    assert sampler.sample(torch.tensor([3.0, 2.0, -1.0])) == 1
    sampler.accept(1)
    assert sampler.sample(torch.tensor([3.0, 2.0, 1.4])) == 0
    sampler.accept(2)
    # Negative logits are multiplied, so that they sink as well.
    assert sampler.sample(torch.tensor([-1.0, -2.0, -0.9])) == 2


def test_logprob() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0])
    assert logprob(logits, 2) == pytest.approx(float(torch.log_softmax(logits, 0)[2]))


@pytest.mark.parametrize("count", [1, 5, 200, 290])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_what_is_allowed_comes(count: int, temperature: float) -> None:
    """Few tokens and many, and a mask that ends before the vocabulary does."""
    chance = np.random.default_rng(count)
    allowed = set(chance.choice(290, count, replace=False).tolist())
    sampler = Sampler(Sampling(temperature=temperature, seed=1), [])
    for _ in range(20):
        logits = torch.from_numpy(chance.normal(size=320).astype(np.float32))
        best = max(allowed, key=lambda token: float(logits[token]))
        token = sampler.sample(logits.clone(), words(allowed, 290))
        assert token in allowed
        assert temperature or token == best
