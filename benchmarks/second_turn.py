"""What the prefix cache is worth: time to the first token of a second turn, with and without it.

    python benchmarks/second_turn.py [--model NAME …] [--gguf FILE] [--json] [--history 3000] [--without-peers]

A conversation holds a history of 3,000 tokens (rows of `examples/data/orders.csv`) and a question. Its prompt is read
once with nothing remembered: that is the time without the cache. Then the same history comes again with another
question of the same length, and only the question has to be read. Each round brings a history of its own. llama.cpp
does the same with its own means, keeping the sequence up to the end of the history; it is told what is shared, ours has
to find it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from _harness import ModelFiles, Report, Result, argument_parser, main, medians, model_files, require_peers, say
from _llama import LlamaContext
from tokenizers import Tokenizer

from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.types import Sampling

ORDERS = Path(__file__).parents[1] / "examples" / "data" / "orders.csv"
ASKED = ("Which of the orders above is the largest, and who placed it?", "How many orders above came from abroad?")
QUESTION_TOKENS = 24
BAR = 0.1
OURS, OURS_COLD, PEER, PEER_COLD = "openhearth", "openhearth without the cache", "llama.cpp", "llama.cpp without"


class Side(Protocol):
    def first_token(self, prompt: list[int], known: int) -> float:
        """Seconds to the first token, of which the first `known` tokens were in the prompt before; 0: none were."""
        ...

    def close(self) -> None: ...


class Ours:
    def __init__(self, store: Path, threads: int, context: int) -> None:
        self.engine = Engine.load(store, device="cpu", threads=threads, context=context)

    def first_token(self, prompt: list[int], known: int) -> float:
        started, first = time.perf_counter(), 0.0
        request = GenerationRequest(prompt, Sampling(max_tokens=1), stop_ids=frozenset())
        for output in self.engine.generate_sync(request):
            if isinstance(output, Token):
                first = time.perf_counter() - started
            elif isinstance(output, Finished) and not known - 64 <= output.usage.cached_tokens <= known + 1:
                raise RuntimeError(f"{output.usage.cached_tokens} tokens came from the cache where {known} were known")
        return first

    def close(self) -> None:
        self.engine.close()


class LlamaCpp:
    def __init__(self, gguf: Path, threads: int, context: int) -> None:
        self._llama = LlamaContext(gguf, threads, context=context)

    def first_token(self, prompt: list[int], known: int) -> float:
        started = time.perf_counter()
        self._llama.forget(start=known)
        self._llama.prompt(prompt[known:], start=known)
        return time.perf_counter() - started

    def close(self) -> None:
        self._llama.close()


def run() -> int:
    parser = argument_parser(__doc__, repeats=3)
    parser.add_argument("--history", type=int, default=3000, help="tokens of the history (3000)")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    peers = require_peers(["llama_cpp"], without=options.without_peers)
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            compare(model, options, report, peers=peers)
    return report.finish()


def compare(model: ModelFiles, options: argparse.Namespace, report: Report, *, peers: bool) -> None:
    context = -(-(options.history + QUESTION_TOKENS + 8) // 256) * 256
    ours = Ours(model.store, options.threads, context)
    sides: dict[tuple[str, str], Side] = {(OURS_COLD, OURS): ours}
    if peers:
        sides[PEER_COLD, PEER] = LlamaCpp(model.gguf, options.threads, context)
    say(f"{model.name}: a history of {options.history} tokens, {options.threads} threads")
    samples: dict[str, list[float]] = {name: [] for names in sides for name in names}
    try:
        conversations = histories(ours.engine.tokenizer, options.history)
        for turn in range(options.repeats + 1):
            history, first, second = next(conversations)
            for (cold, warm), side in sides.items():
                seconds = side.first_token(history + first, 0), side.first_token(history + second, len(history))
                if turn:
                    samples[cold].append(seconds[0])
                    samples[warm].append(seconds[1])
    finally:
        for side in sides.values():
            side.close()
    add_results(model.name, samples, report, peers=peers)


def add_results(model: str, samples: dict[str, list[float]], report: Report, *, peers: bool) -> None:
    values = medians(samples)
    name = f"second turn {model}"
    report.add(Result(name, "s", values[OURS], OURS_COLD, values[OURS_COLD], BAR, True, samples))
    if peers:
        report.add(Result(f"{name} ({PEER})", "s", values[OURS], PEER, values[PEER], at_most=True))


def histories(tokenizer: Tokenizer, length: int) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Histories of `length` tokens, no two alike, each with two questions of one length."""
    rows = ORDERS.read_text(encoding="utf-8").splitlines(keepends=True)
    questions = [tokenizer.encode(f"\n{asked}\n" * 3).ids[:QUESTION_TOKENS] for asked in ASKED]
    for number in range(len(rows)):
        start = 1 + number * 7
        text = f"{number}. sheet of orders\n" + "".join(rows[start:] + rows[1:start])
        yield tokenizer.encode(text[: 8 * length]).ids[:length], questions[0], questions[1]


if __name__ == "__main__":
    main(run)
