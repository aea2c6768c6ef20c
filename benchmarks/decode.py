"""Decode and prefill speed of one stream, against llama.cpp on the same GGUF file, transformers, and vLLM.

    python benchmarks/decode.py [--model NAME …] [--gguf FILE] [--json] [--repeats 5] [--peer NAME …] [--without-peers]

Decode is greedy and free: a story, continued past any end token, so that every side makes as many tokens; the speed is
taken from the first token to the last. Prefill is the time from 512 prompt tokens to the first token. The sides work
in turns, with one thread for each physical core. Ours is the converted store in its default precision. transformers
holds the file's weights in its own model class, in float32, its default for GGUF files; `--dtype bfloat16` takes half
the memory. vLLM holds them in bfloat16, in a process of its own; `--vllm-python` names its interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from _harness import Report, argument_parser, main, model_files
from _peers import LLAMA_CPP, Side
from _text import MIXED, STORY_PROMPT
from _versus import add_peer_options, chosen_peers, measure, versus

PREFILL_TOKENS = 512
DECODE_BAR = {LLAMA_CPP: 1.0}
PREFILL_BAR = {LLAMA_CPP: 2.2}


def run() -> int:
    parser = argument_parser(__doc__, repeats=5)
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (64)")
    add_peer_options(parser)
    options = parser.parse_args()
    peers = chosen_peers(options)
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            for peer in peers:
                with versus(model, peer, options) as (ours, sides):
                    story, text = (ours.engine.tokenizer.encode(each).ids for each in (STORY_PROMPT, MIXED))
                    decode, prefill = f"decode {model.name}", f"prefill {PREFILL_TOKENS} {model.name}"
                    measure(decode, _decode(story, options.tokens), sides, options.repeats, DECODE_BAR, report)
                    measure(prefill, _prefill(text), sides, options.repeats, PREFILL_BAR, report)
    return report.finish()


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
