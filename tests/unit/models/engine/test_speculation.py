"""Guessing ahead: what is guessed, when, and that nothing but the speed depends on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import Script, collect, request, tiny_engine
from support.tiny import VOCABULARY, random_ids

from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import GenerationRequest, Token
from openhearth.models.engine.speculation import MOST, Speculator
from openhearth.types import Sampling


def test_what_followed_before_is_guessed() -> None:
    assert Speculator().draft([1, 2, 3, 4, 5, 6, 9, 1, 2, 3], 7) == [4, 5, 6]
    assert Speculator().draft([1, 2, 3, 4, 5, 6, 9, 1, 2, 3], 2) == [4, 5]
    assert Speculator().draft([1, 2, 3, 4, 5, 6, 9, 2, 2, 3], 7) == []
    assert Speculator().draft([1, 2, 3, 4], 0) == []


def test_the_place_with_the_longest_agreement_wins() -> None:
    tokens = [7, 1, 2, 3, 50, 51, 52, 8, 1, 2, 3, 60, 61, 62, 7, 1, 2, 3]
    assert Speculator().draft(tokens, 7) == [50, 51, 52]
    tokens[0] = 9
    assert Speculator().draft(tokens, 7) == [60, 61, 62]


def test_a_repetition_is_guessed_on() -> None:
    speculator = Speculator()
    tokens = [5, 6] * 4
    assert speculator.draft(tokens, MOST) == [5, 6, 5]
    speculator.learn(11, 3, 3)
    speculator.learn(18, 6, 6)
    assert speculator.draft([5, 6] * 9, 20) == [5, 6, 5, 6, 5, 6, 5]


def test_guesses_in_vain_rest_longer_each_time() -> None:
    speculator = Speculator()
    tokens = [1, 1, 1, 1]
    rests: list[int] = []
    last = len(tokens)
    while len(rests) < 6:
        tokens.append(1)
        draft = speculator.draft(tokens, MOST)
        if draft:
            rests.append(len(tokens) - last)
            last = len(tokens)
            speculator.learn(len(tokens), len(draft), 0)
    assert rests == sorted(rests)
    assert rests[-1] > 30
    speculator.learn(len(tokens), 2, 2)
    tokens.append(1)
    assert not speculator.draft(tokens[:-1], MOST)


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 10))
def test_a_guess_is_a_continuation_that_was_there(tokens: list[int], most: int) -> None:
    draft = Speculator().draft(tokens, most)
    assert len(draft) <= min(most, MOST)
    if draft:
        whole = [*tokens, *draft]
        key = tokens[-3:]
        places = [at for at in range(3, len(tokens)) if tokens[at - 3 : at] == key]
        assert any(whole[at : at + len(draft)] == draft for at in places)


SIZES: list[dict[str, Any]] = [
    {},
    {"num_hidden_layers": 1, "tie_word_embeddings": True},
    {"num_key_value_heads": 6, "head_dim": 16},
]
Engines = tuple[Engine, Engine]


@pytest.fixture(scope="module", params=SIZES, ids=["grouped", "tied", "wide"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """With and without guesses, over the same synthetic model."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    guessing = tiny_engine(folder / "one", **request.param)
    plain = tiny_engine(folder / "two", speculate=False, **request.param)
    yield guessing, plain
    guessing.close()
    plain.close()


def both(engines: Engines, asked: Sequence[GenerationRequest]) -> list[list[int]]:
    return [collect(engine, one)[0] for engine, one in zip(engines, asked, strict=True)]


PROMPTS = st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=6).flatmap(
    lambda piece: st.integers(1, 12).map(lambda times: piece * times)
)


@settings(max_examples=12, deadline=None)
@given(PROMPTS, st.integers(1, 90))
def test_greedy_text_is_the_same(engines: Engines, prompt: list[int], count: int) -> None:
    guessed, plain = both(engines, [request(prompt, count)] * 2)
    assert guessed == plain
    assert len(plain) == count


@settings(max_examples=12, deadline=None)
@given(PROMPTS, st.floats(0.2, 2.0), st.integers(0, 1000), st.floats(0.5, 1.0), st.sampled_from([1.0, 1.3]))
def test_text_drawn_by_lot_is_the_same(
    engines: Engines, prompt: list[int], temperature: float, seed: int, top_p: float, penalty: float
) -> None:
    sampling = Sampling(
        temperature=temperature, seed=seed, top_p=top_p, repetition_penalty=penalty, max_tokens=40, top_k=5
    )
    guessed, plain = both(engines, [request(prompt, sampling=sampling)] * 2)
    assert guessed == plain


STEPS = st.one_of(
    st.none(),
    st.sets(st.integers(3, VOCABULARY - 1), min_size=1, max_size=3),
    st.lists(st.integers(3, 12), min_size=1, max_size=5),
)


@settings(max_examples=25, deadline=None)
@given(PROMPTS, st.lists(STEPS, max_size=8), st.integers(1, 4), st.integers(1, 60), st.booleans())
def test_a_constraint_sees_the_same(
    engines: Engines,
    prompt: list[int],
    steps: list[set[int] | list[int] | None],
    times: int,
    count: int,
    logprobs: bool,
) -> None:
    scripts = [Script([*steps] * times, VOCABULARY) for _ in range(2)]
    asked = [request(prompt, count, constraint=script, logprobs=logprobs) for script in scripts]
    outputs = [list(engine.generate_sync(one)) for engine, one in zip(engines, asked, strict=True)]
    first, second = ([token.id for token in out if isinstance(token, Token)] for out in outputs)
    assert first == second
    assert scripts[0].accepted == scripts[1].accepted == first
    ends = [out[-1] for out in outputs]
    assert ends[0].reason == ends[1].reason  # type: ignore[union-attr]
    chances = [[token.logprob for token in out if isinstance(token, Token)] for out in outputs]
    assert [chance is None for chance in chances[0]] == [chance is None for chance in chances[1]]
    assert [chance or 0.0 for chance in chances[0]] == pytest.approx([chance or 0.0 for chance in chances[1]], abs=1e-4)


def test_guesses_come_true_and_are_counted(engines: Engines) -> None:
    guessing, plain = engines
    before = guessing.metrics()
    collect(guessing, request(random_ids(10, seed=70), 300))
    after = guessing.metrics()
    proposed = after.proposed_tokens - before.proposed_tokens
    accepted = after.accepted_tokens - before.accepted_tokens
    assert 0 < accepted <= proposed
    # Each step brings one token and what came true.
    assert after.steps - before.steps == 300 - accepted
    assert plain.metrics().proposed_tokens == 0
