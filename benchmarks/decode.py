"""Decode and prefill speed of one stream, against llama.cpp on the same GGUF file and against transformers.

    python benchmarks/decode.py [--model NAME …] [--gguf FILE] [--json] [--repeats 5] [--without-peers]

Decode is greedy and free: a story, continued past any end token, so that every side makes as many tokens; the speed is
taken from the first token to the last. Prefill is the time from 512 prompt tokens to the first token. All sides run in
this process, in turns, with one thread for each physical core. Ours is the converted store in its default precision.
transformers holds the file's weights in its own model class, in float32, its default for GGUF files; `--dtype bfloat16`
takes half the memory.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from functools import partial

import torch
from _harness import (
    ModelFiles,
    Report,
    Result,
    argument_parser,
    in_turns,
    main,
    medians,
    model_files,
    require_peers,
    say,
)
from _peers import LlamaCpp, Ours, Side, Transformers
from _text import MIXED, STORY_PROMPT

PREFILL_TOKENS = 512
DECODE_BAR = 1.0
PREFILL_BAR = 2.2
LLAMA_CPP = "llama.cpp"
PEERS = (LLAMA_CPP, "transformers")


def run() -> int:
    parser = argument_parser(__doc__, repeats=5)
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (64)")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    parser.add_argument("--peer", action="append", choices=PEERS, dest="peers", help="may be repeated (both)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of transformers' weights")
    options = parser.parse_args()
    peers: Sequence[str | None] = options.peers or PEERS
    needed = ["llama_cpp"] if LLAMA_CPP in peers else []
    if not require_peers(needed, without=options.without_peers):
        peers = [None]
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            for peer in peers:
                compare(model, peer, options, report)
    return report.finish()


def compare(model: ModelFiles, peer_name: str | None, options: argparse.Namespace, report: Report) -> None:
    """Measure ours and one peer in turns; the other peers are not in memory meanwhile."""
    ours = Ours(model.store, options.threads)
    sides: list[Side] = [ours]
    if peer_name == LLAMA_CPP:
        sides.append(LlamaCpp(model.gguf, options.threads))
    elif peer_name is not None:
        sides.append(Transformers(model.gguf, options.threads, getattr(torch, options.dtype)))
    say(f"{model.name}: {', '.join(side.name for side in sides)}; {options.threads} threads")
    story = ours.engine.tokenizer.encode(STORY_PROMPT).ids
    text = ours.engine.tokenizer.encode(MIXED).ids
    try:
        # Peers of other kinds are far slower: fewer rounds of them say as much.
        repeats = options.repeats if peer_name in (None, LLAMA_CPP) else max(1, options.repeats // 2)
        measure(f"decode {model.name}", _decode(story, options.tokens), sides, repeats, DECODE_BAR, report)
        measure(f"prefill {PREFILL_TOKENS} {model.name}", _prefill(text), sides, repeats, PREFILL_BAR, report)
    finally:
        for side in sides:
            side.close()
        gc.collect()


def measure(
    name: str, once: Callable[[Side, int], float], sides: Sequence[Side], repeats: int, bar: float, report: Report
) -> None:
    samples = in_turns({side.name: partial(once, side) for side in sides}, repeats)
    speeds = medians(samples)
    ours, *others = (side.name for side in sides)
    peer = others[0] if others else None
    report.add(
        Result(
            name if peer in (None, LLAMA_CPP) else f"{name} ({peer})",
            "tok/s",
            speeds[ours],
            peer,
            speeds[peer] if peer else None,
            # The bars are about llama.cpp; no promise is made about others.
            bar if peer == LLAMA_CPP else None,
            samples=samples,
        )
    )


def _decode(prompt: Sequence[int], count: int) -> Callable[[Side, int], float]:
    return lambda side, _: side.decode(prompt, count)[0]


def _prefill(text: Sequence[int]) -> Callable[[Side, int], float]:
    def once(side: Side, turn: int) -> float:
        # Another prompt each time, different from its first token on: no cache may help.
        first = turn * 7 + 11
        return side.prefill([*text[first:], *text[:first]][:PREFILL_TOKENS])

    return once


if __name__ == "__main__":
    main(run)
