"""What one request gives: tokens, counts, ends; greedy text equals transformers'."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.engines import Script, collect, request, tiny_engine
from support.tiny import VOCABULARY, random_ids, tiny_model

from openhearth.errors import ContextOverflowError
from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, Token
from openhearth.types import Sampling


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = tiny_engine(tmp_path_factory.mktemp("tiny"))
    yield engine
    engine.close()


def plain(engine: Engine, prompt: list[int], count: int) -> list[int]:
    """Greedy by whole forward passes."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(engine.logits(ids)[-1].argmax()))
    return ids[len(prompt) :]


def test_greedy_equals_transformers(tmp_path: Path) -> None:
    engine = tiny_engine(tmp_path)
    model = tiny_model(tmp_path / "again")
    prompt = random_ids(30)
    expected = model.generate(  # type: ignore[operator]
        torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert collect(engine, request(prompt, 24))[0] == expected[0, 30:].tolist()
    torch.testing.assert_close(
        engine.logits(prompt), model(torch.tensor([prompt])).logits[0].detach(), atol=1e-4, rtol=1e-4
    )
    engine.close()


def test_counts_and_reason_at_the_limit(engine: Engine) -> None:
    prompt = random_ids(40, seed=2)
    tokens, finished = collect(engine, request(prompt, 7))
    assert len(tokens) == 7
    assert finished.reason == "length"
    assert finished.usage.prompt_tokens == 40
    assert finished.usage.cached_tokens == 0
    assert finished.usage.completion_tokens == 7
    assert finished.timings.first_token_s > 0
    assert finished.timings.decode_s > 0


def test_a_long_prompt_goes_in_chunks(engine: Engine) -> None:
    prompt = random_ids(700, seed=3)
    assert collect(engine, request(prompt, 4))[0] == plain(engine, prompt, 4)


def test_a_reused_prefix_changes_nothing(engine: Engine) -> None:
    prompt = random_ids(300, seed=4)
    tokens, _ = collect(engine, request(prompt, 6))
    longer = [*prompt, *tokens, *random_ids(20, seed=5)]
    again, finished = collect(engine, request(longer, 6))
    # The last token that was sampled was never read by the model.
    assert finished.usage.cached_tokens == 300 + 6 - 1
    assert again == plain(engine, longer, 6)


def test_stop_ids_end_it_unseen(engine: Engine) -> None:
    prompt = random_ids(20, seed=6)
    free, _ = collect(engine, request(prompt, 12))
    stop = next(token for token in free[1:] if token != free[0])
    tokens, finished = collect(engine, request(prompt, 12, stop_ids=frozenset({stop})))
    assert tokens == free[: free.index(stop)]
    assert finished.reason == "stop"
    assert finished.usage.completion_tokens == len(tokens)


def test_the_models_own_end_is_the_default(engine: Engine) -> None:
    prompt = random_ids(20, seed=7)
    (end,) = engine.config.eos_ids
    asked = request(prompt, 12, stop_ids=None, constraint=Script([None, {end}, None], VOCABULARY))
    tokens, finished = collect(engine, asked)
    assert len(tokens) == 1
    assert finished.reason == "stop"


def test_the_context_is_the_last_limit(tmp_path: Path) -> None:
    engine = tiny_engine(tmp_path, context=32)
    tokens, finished = collect(engine, request(random_ids(28), None))
    assert len(tokens) == 4
    assert finished.reason == "length"
    tokens, finished = collect(engine, request(random_ids(31), None))
    assert len(tokens) == 1
    with pytest.raises(ContextOverflowError, match="32 tokens") as caught:
        collect(engine, request(random_ids(32)))
    assert caught.value.hint
    engine.close()


@pytest.mark.parametrize("prompt", [[], [5, VOCABULARY], [-1]])
def test_what_is_no_prompt_is_refused(engine: Engine, prompt: list[int]) -> None:
    with pytest.raises(ValueError, match="prompt"):
        collect(engine, request(prompt))


def test_a_deadline_in_the_past_gives_no_token(engine: Engine) -> None:
    tokens, finished = collect(engine, request(random_ids(9), deadline=time.monotonic() - 1))
    assert tokens == []
    assert finished.reason == "length"
    assert finished.usage.completion_tokens == 0


def test_a_deadline_ends_decoding(engine: Engine) -> None:
    tokens, finished = collect(engine, request(random_ids(9), None, deadline=time.monotonic() + 0.2))
    assert finished.reason == "length"
    assert finished.usage.completion_tokens == len(tokens) < 1024 - 9 or len(tokens) == 1024 - 9


def test_masks_choose_and_forced_tokens_are_appended(engine: Engine) -> None:
    prompt = random_ids(15, seed=8)
    script = Script([{40, 50}, [60, 61, 62], None, {70}], VOCABULARY)
    tokens, finished = collect(engine, request(prompt, constraint=script))
    first = max((40, 50), key=lambda token: float(engine.logits(prompt)[-1][token]))
    free = plain(engine, [*prompt, first, 60, 61, 62], 1)
    assert tokens == [first, 60, 61, 62, *free, 70]
    assert script.accepted == tokens
    assert finished.reason == "stop"
    assert finished.usage.completion_tokens == 6


def test_forced_tokens_stop_at_the_limit(engine: Engine) -> None:
    script = Script([[5, 6, 7, 8]], VOCABULARY)
    tokens, finished = collect(engine, request(random_ids(5), 2, constraint=script))
    assert tokens == [5, 6]
    assert finished.reason == "length"


def test_a_finished_constraint_asks_for_nothing(engine: Engine) -> None:
    tokens, finished = collect(engine, request(random_ids(5), constraint=Script([], VOCABULARY)))
    assert tokens == []
    assert finished.reason == "stop"


def test_logprobs_on_request(engine: Engine) -> None:
    prompt = random_ids(12, seed=9)
    script = Script([[30], {31}], VOCABULARY)
    outputs = list(engine.generate_sync(request(prompt, constraint=script, logprobs=True)))
    forced, masked, _ = outputs
    assert isinstance(forced, Token)
    assert isinstance(masked, Token)
    assert forced.logprob is None
    expected = engine.logits([*prompt, 30])[-1].log_softmax(-1)[31]
    assert masked.logprob == pytest.approx(float(expected), abs=1e-4)
    assert all(o.logprob is None for o in engine.generate_sync(request(prompt, 2)) if isinstance(o, Token))


def test_a_seed_repeats_itself(engine: Engine) -> None:
    asked = request(random_ids(12), sampling=Sampling(temperature=1.5, top_p=0.95, seed=11, max_tokens=20))
    first, second = collect(engine, asked)[0], collect(engine, asked)[0]
    assert first == second
    other = request(random_ids(12), sampling=Sampling(temperature=1.5, top_p=0.95, seed=12, max_tokens=20))
    assert collect(engine, other)[0] != first


def test_the_end_is_the_last_thing(engine: Engine) -> None:
    outputs = list(engine.generate_sync(request(random_ids(5), 3)))
    assert [type(output) for output in outputs] == [Token, Token, Token, Finished]
