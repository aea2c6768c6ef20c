"""Many runs at once: tokens a second of all together, against llama.cpp's sequences, transformers' batches and vLLM.

    python benchmarks/concurrent_runs.py [--runs 8 --runs 16] [--tokens 64] [--model NAME …] [--vllm-python PATH]

Every run has a short prompt of its own, different from its first tokens on, and writes a story, greedily and past any
end token. Ours are as many calls of `Engine.generate`, made at once from asynchronous code, and so scheduled by the
engine. llama.cpp decodes as many sequences of one context in one batch; transformers one batch of equally long prompts;
vLLM schedules by itself. The speed is of all tokens, from handing over the prompts to the last token of the last run.
"""

from __future__ import annotations

from collections.abc import Callable

from _harness import Report, argument_parser, main, model_files
from _peers import LLAMA_CPP, VLLM, Side
from _versus import add_peer_options, chosen_peers, measure, versus
from tokenizers import Tokenizer

RUNS = (8, 16)
PROMPT_TOKENS = 40
BARS = {8: {LLAMA_CPP: 2.5, VLLM: 5.0}}


def run() -> int:
    parser = argument_parser(__doc__, repeats=3)
    parser.add_argument("--runs", type=int, action="append", help="runs at once; may be repeated (8 and 16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that each run writes (64)")
    add_peer_options(parser)
    options = parser.parse_args()
    peers, counts = chosen_peers(options), options.runs or RUNS
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            for peer in peers:
                with versus(model, peer, options, sequences=max(counts)) as (ours, sides):
                    for count in counts:
                        once = _together(ours.engine.tokenizer, count, options.tokens)
                        name = f"{count} runs at once {model.name}"
                        measure(name, once, sides, options.repeats, BARS.get(count, {}), report)
    return report.finish()


def _together(tokenizer: Tokenizer, runs: int, tokens: int) -> Callable[[Side, int], float]:
    def once(side: Side, turn: int) -> float:
        return side.together([_prompt(tokenizer, turn * runs + number) for number in range(runs)], tokens)

    return once


def _prompt(tokenizer: Tokenizer, number: int) -> list[int]:
    text = f"{number} travellers meet at an inn where each of them must tell a story. This is the story of the first: "
    ids: list[int] = tokenizer.encode(text * 2).ids
    return ids[:PROMPT_TOKENS]


if __name__ == "__main__":
    main(run)
