"""Five hundred requests of all kinds against one engine: no leak, no cross-talk, all blocks returned.

The model is tiny and random, in float32, so that every greedy reply can be compared with a run of the same request
alone. Its tokens are bytes, so that real grammars work on it.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.engines import collect, tiny_engine
from support.tiny import END, VOCABULARY

from openhearth.models.chat.grammar import GrammarCompiler, Matcher
from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.types import Sampling

REQUESTS = 500
AT_ONCE = 10
WARM_UP = 250
GRAMMARS = (
    'start: "{" NAME ": " NUMBER "}"\nNAME: /[a-z]{1,8}/\nNUMBER: /[0-9]{1,6}/',
    'start: ("yes, certainly" | "no, never") "." /[A-Z ]{0,20}/ "!"',
)
TIE = 1e-4
"""Logits that differ by less may change places when a sum is made in another order."""


class Grammar:
    """A constraint by a grammar alone; see `openhearth.models.engine.constraint.Constraint`."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def mask(self) -> torch.Tensor:
        return self._matcher.mask()

    def forced(self) -> Sequence[int]:
        return self._matcher.forced()

    def allowed(self, tokens: Sequence[int]) -> int:
        return self._matcher.allowed(tokens)

    def accept(self, token: int) -> None:
        self._matcher.accept(token)

    def finished(self) -> bool:
        return self._matcher.stopped


@dataclass
class Case:
    """One request, and what became of it. `cut` is after how many tokens it is cancelled."""

    prompt: list[int]
    sampling: Sampling
    grammar: str | None
    cut: int | None
    reply: list[int]
    finished: Finished | None = None

    def request(self, compiler: GrammarCompiler) -> GenerationRequest:
        constraint = Grammar(compiler.start(self.grammar)) if self.grammar is not None else None
        return GenerationRequest(self.prompt, self.sampling, constraint, stop_ids=frozenset({END}))


def next_case(chance: random.Random, past: list[Case]) -> Case:
    """A new text, a continuation, or a fork of an earlier one."""
    kind = chance.random()
    length = chance.choice((5, 40, 120, 350))
    fresh = [chance.randrange(3, VOCABULARY) for _ in range(chance.randint(1, length))]
    if past and kind < 0.6:
        before = chance.choice(past[-20:])
        whole = [*before.prompt, *before.reply]
        if kind < 0.3:
            whole = whole[: chance.randint(1, len(whole))]
        prompt = [*whole, *fresh[:30]][:600]
    else:
        prompt = fresh
    return Case(
        prompt,
        Sampling(
            max_tokens=chance.choice((1, 5, 20, 60, 150)),
            temperature=chance.choice((0.0, 0.0, 1.0)),
            top_p=chance.choice((1.0, 0.9)),
            repetition_penalty=chance.choice((1.0, 1.0, 1.1)),
            seed=chance.randrange(1000),
        ),
        chance.choice((None, None, None, *GRAMMARS)),
        chance.choice((None, None, None, None, chance.randint(0, 15))),
        [],
    )


async def play(engine: Engine, case: Case, compiler: GrammarCompiler) -> None:
    outputs = engine.generate(case.request(compiler))
    try:
        async for output in outputs:
            if isinstance(output, Finished):
                case.finished = output
            else:
                assert isinstance(output, Token)
                case.reply.append(output.id)
                if case.cut is not None and len(case.reply) >= case.cut:
                    return
    finally:
        await outputs.aclose()


async def soak(engine: Engine, compiler: GrammarCompiler) -> tuple[list[Case], list[int]]:
    """All cases, and the memory after each from the end of the warm-up on."""
    chance = random.Random(7)
    done: list[Case] = []
    memory: list[int] = []
    started = 0

    async def client() -> None:
        nonlocal started
        while started < REQUESTS:
            started += 1
            case = next_case(chance, done)
            await play(engine, case, compiler)
            done.append(case)
            if len(done) >= WARM_UP:
                memory.append(resident())

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return done, memory


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def differs(engine: Engine, case: Case, alone: list[int]) -> bool:
    """Whether the reply is another than alone, and not merely since two tokens were equally good."""
    reply = case.reply if case.cut is None else case.reply[: case.cut]
    for index, (found, expected) in enumerate(zip(reply, alone, strict=False)):
        if found != expected:
            logits = engine.logits([*case.prompt, *alone[:index]])[-1]
            return abs(float(logits[found] - logits[expected])) > TIE
    return case.finished is not None and len(reply) != len(alone)


@pytest.mark.slow
async def test_five_hundred_requests(tmp_path: Path) -> None:
    engine = tiny_engine(tmp_path, cache_mb=1, num_key_value_heads=6)
    compiler = GrammarCompiler(engine.tokenizer, vocab_size=VOCABULARY, eos_ids=[END])
    cases, memory = await soak(engine, compiler)
    assert len(cases) == REQUESTS

    start, end = memory[0], sorted(memory[-20:])[10]
    assert end <= start * 1.03

    while engine.metrics().running or engine.metrics().waiting:
        await asyncio.sleep(0.001)
    metrics = engine.metrics()
    assert metrics.evictions > 0
    assert metrics.preemptions > 0, metrics
    assert metrics.hit_tokens > 0
    assert 0 < metrics.accepted_tokens <= metrics.proposed_tokens, metrics
    assert metrics.used_bytes <= metrics.budget_bytes
    check_blocks(engine)

    roomy = tiny_engine(tmp_path / "alone", speculate=False, num_key_value_heads=6)
    wrong = []
    for case in cases:
        if case.sampling.temperature == 0:
            alone, _ = await asyncio.to_thread(collect, roomy, case.request(compiler))
            if differs(roomy, case, alone):
                wrong.append(case)
    roomy.close()
    assert not wrong
    assert sum(case.finished is not None for case in cases) > REQUESTS / 2
    engine.close()
    gc.collect()


def check_blocks(engine: Engine) -> None:
    """Nobody runs, so each block is either free or the tree's alone."""
    cache = engine._scheduler._cache
    nodes = list(cache.tree)
    blocks = [node.block for node in nodes]
    assert len(set(blocks)) == len(blocks)
    assert cache.pool.idle == len(blocks)
    assert cache.pool.free == cache.pool.size - len(blocks)
    assert all(cache.pool.holders(block) == 1 for block in blocks)
    while cache.tree.evict():
        pass
    assert cache.pool.free == cache.pool.size
