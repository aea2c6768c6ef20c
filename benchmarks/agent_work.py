"""Decode speed on an agent's work: a recorded conversation with tools, replayed, against llama.cpp on the same file.

    python benchmarks/agent_work.py [--model NAME …] [--gguf FILE] [--json] [--repeats 3] [--steps 10] [--without-peers]
    python benchmarks/agent_work.py --record agent_work.json

The recording holds an agent's work on `examples/data`: system prompt, tools, questions, calls, results, answers. At
each step the prompt is the history as it was recorded, and the reply is decoded greedily, up to its recorded length.
Ours is the `local` backend: it finds what it knows of the prompt, holds calls to their grammar, and is free to
speculate. llama.cpp keeps its sequence up to where the prompt departs from it, reads the rest and decodes token by
token, without any grammar. `decode` counts the tokens of replies after the first one and the time from the first to the
last; `agent work` counts all of them and all of the time, reading included.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from _harness import ModelFiles, Report, Result, argument_parser, main, medians, model_files, require_peers, say
from _llama import LlamaContext
from _recording import Recording, record

from openhearth.config import Settings, load_settings
from openhearth.models.backends.engines import acquire
from openhearth.models.backends.local import LocalModel
from openhearth.types import ModelRequest, Reply, Sampling

FILE = Path(__file__).with_name("agent_work.json")
CONTEXT = 8192
DECODE_BAR = 2.5
OURS, PEER = "openhearth", "llama.cpp"


@dataclass(slots=True)
class Tally:
    """What a replay came to: tokens of replies, and seconds until first tokens and after them."""

    tokens: int = 0
    steps: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0

    def add(self, tokens: int, read_s: float, decode_s: float) -> None:
        self.tokens += tokens
        self.steps += 1
        self.read_s += read_s
        self.decode_s += decode_s

    @property
    def decode(self) -> float:
        return (self.tokens - self.steps) / self.decode_s

    @property
    def overall(self) -> float:
        return self.tokens / (self.read_s + self.decode_s)


class Side(Protocol):
    def replay(self, steps: Sequence[ModelRequest]) -> Tally: ...

    def close(self) -> None: ...


class Ours:
    def __init__(self, store: Path, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._loaded = acquire(store, settings)
        self._model = LocalModel(self._loaded, reference=store.name)
        self.ends = frozenset(self._loaded.engine.config.eos_ids)

    def replay(self, steps: Sequence[ModelRequest]) -> Tally:
        return self._loop.run_until_complete(self._replay(steps))

    async def _replay(self, steps: Sequence[ModelRequest]) -> Tally:
        tally = Tally()
        for step in steps:
            async with aclosing(self._model.stream(step)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        timings = piece.timings
                        tally.add(piece.usage.completion_tokens, timings.first_token_s, timings.decode_s)
        return tally

    def prompt(self, step: ModelRequest) -> list[int]:
        text = self._loaded.writer.write(step)
        ids: list[int] = self._loaded.engine.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def close(self) -> None:
        self._loop.run_until_complete(self._model.aclose())
        self._loop.close()


class LlamaCpp:
    """Reads and decodes the same prompts; a reply also ends where the model ends it, as ours does."""

    def __init__(self, gguf: Path, threads: int, ours: Ours) -> None:
        self._llama = LlamaContext(gguf, threads, context=CONTEXT)
        self._ours = ours

    def replay(self, steps: Sequence[ModelRequest]) -> Tally:
        tally, held = Tally(), list[int]()
        for step in steps:
            prompt = self._ours.prompt(step)
            known = min(_shared(held, prompt), len(prompt) - 1)
            began = time.perf_counter()
            self._llama.forget(start=known)
            reply = [self._llama.prompt(prompt[known:], start=known)]
            first = time.perf_counter()
            last, limit = first, step.sampling.max_tokens or 1
            while len(reply) < limit:
                token = self._llama.prompt(reply[-1:], start=len(prompt) + len(reply) - 1)
                if token in self._ours.ends:
                    break
                reply.append(token)
                last = time.perf_counter()
            tally.add(len(reply), first - began, last - first)
            held = [*prompt, *reply[:-1]]
        return tally

    def close(self) -> None:
        self._llama.close()


def run() -> int:
    parser = argument_parser(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, help="replay only the first so many steps")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    parser.add_argument("--record", type=Path, metavar="FILE", help="let the default agent work and record it instead")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return 0
    peers = require_peers(["llama_cpp"], without=options.without_peers)
    recording = Recording.model_validate_json(FILE.read_text(encoding="utf-8"))
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            compare(model, recording, options, report, peers=peers)
    return report.finish()


def compare(
    model: ModelFiles, recording: Recording, options: argparse.Namespace, report: Report, *, peers: bool
) -> None:
    settings = load_settings({"model": {"device": "cpu", "threads": options.threads, "context": CONTEXT}})
    ours = Ours(model.store, settings)
    sides: dict[str, Side] = {OURS: ours}
    if peers:
        sides[PEER] = LlamaCpp(model.gguf, options.threads, ours)
    decode: dict[str, list[float]] = {name: [] for name in sides}
    overall: dict[str, list[float]] = {name: [] for name in sides}
    try:
        for turn in range(options.repeats + 1):
            steps = requests(recording, turn)[: options.steps]
            for name, side in sides.items():
                tally = side.replay(steps)
                say(f"  {model.name}, {name}: {tally.steps} steps, {tally.tokens} tokens, {tally.read_s:.2f} s reading")
                if turn:
                    decode[name].append(tally.decode)
                    overall[name].append(tally.overall)
    finally:
        for side in sides.values():
            side.close()
    peer = PEER if peers else None
    for name, samples, bar in (("decode, agent work", decode, DECODE_BAR), ("agent work", overall, None)):
        values = medians(samples)
        bar = bar if peer else None
        report.add(Result(f"{name} {model.name}", "tok/s", values[OURS], peer, values.get(PEER), bar, samples=samples))


def requests(recording: Recording, turn: int) -> list[ModelRequest]:
    """What the agent asked at each step. Each turn begins with other words, so that no earlier one is remembered."""
    system, *others = recording.messages
    messages = (system.model_copy(update={"content": f"Session {turn}.\n{system.content}"}), *others)
    return [
        ModelRequest(
            messages=messages[:at],
            tools=recording.tools,
            sampling=Sampling(max_tokens=tokens),
        )
        for at, tokens in recording.replies
    ]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


if __name__ == "__main__":
    main(run)
