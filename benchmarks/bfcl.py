"""The Berkeley function-calling leaderboard: ours against the same file and the same prompt through llama.cpp.

    python benchmarks/bfcl.py [--model NAME …] [--category NAME …] [--cases 25] [--odd] [--details FILE] [--json]

Greedy decoding. The peer's text is read twice: strictly, as the family's own marker demands, and leniently, with our
parser. `right` is the leaderboard's own judgement, `called` the share of cases with a call, `valid` the share of these
whose calls name a tool and fit its schema. Cases of odd number are left alone unless `--odd` asks for them, so that
something stays that nothing was tuned on. A case of ours runs by itself, as the peer's does: seconds can be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean

from _bfcl import CATEGORIES, Calls, Case, load, read_strictly
from _harness import ModelFiles, Report, Result, argument_parser, main, model_files, require_peers, say
from _llama import LlamaContext
from jsonschema import Draft202012Validator

from openhearth.config import Settings, load_settings
from openhearth.models.backends.engines import LoadedModel, acquire, release
from openhearth.models.backends.local import LocalModel
from openhearth.models.chat.detokenise import Detokeniser
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.types import ModelRequest, Reply, Sampling

CONTEXT = 8192
LIMIT = 512
BARS = {"simple_python": 0.95, "multiple": 0.90, "parallel": 0.65, "irrelevance": 0.75}
OURS, STRICT, LENIENT = "openhearth", "llama.cpp, strict", "llama.cpp, lenient"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One side's reply to one case."""

    case: str
    category: str
    side: str
    right: bool
    valid: bool
    calls: Calls
    text: str
    tokens: int
    seconds: float


def run() -> int:
    parser = argument_parser(__doc__, repeats=1)
    parser.add_argument("--category", action="append", choices=CATEGORIES, help="may be repeated (all)")
    parser.add_argument("--cases", type=int, default=25, help="of each category, from its beginning (25)")
    parser.add_argument("--odd", action="store_true", help="run the cases of odd number instead")
    parser.add_argument("--details", type=Path, help="write each reply to this file, one JSON object a line")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    peers = require_peers(["llama_cpp"], without=options.without_peers)
    settings = load_settings({"model": {"device": "cpu", "threads": options.threads, "context": CONTEXT}})
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            with asyncio.Runner() as runner:
                runner.run(compare(model, options, settings, report, peers=peers))
    return report.finish()


async def compare(
    model: ModelFiles, options: argparse.Namespace, settings: Settings, report: Report, *, peers: bool
) -> None:
    ours = await LocalModel.open(model.store, settings)
    loaded = acquire(model.store, settings)
    peer = LlamaCpp(model.gguf, options.threads, loaded) if peers else None
    try:
        for category in options.category or CATEGORIES:
            outcomes = []
            for case in islice(load(category, even=not options.odd), options.cases):
                request = ModelRequest(
                    messages=case.messages, tools=case.tools, sampling=Sampling(temperature=0, max_tokens=LIMIT)
                )
                found = [await answer(ours, case, request), *(peer.answer(case, request) if peer else ())]
                outcomes += found
                say(f"  {case.id}: " + ", ".join(f"{o.side} {'right' if o.right else 'WRONG'}" for o in found))
                if options.details:
                    with options.details.open("a", encoding="utf-8") as file:
                        file.writelines(json.dumps({"model": model.name, **asdict(o)}) + "\n" for o in found)
            tell(report, f"{category} {model.name}", BARS.get(category), outcomes)
    finally:
        if peer:
            peer.close()
        release(loaded)
        await ours.aclose()


async def answer(model: LocalModel, case: Case, request: ModelRequest) -> Outcome:
    began = time.perf_counter()
    async with aclosing(model.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Reply):
                calls: Calls = [(call.name, call.arguments) for call in piece.message.tool_calls]
                tokens = piece.usage.completion_tokens
                return judge(case, OURS, calls, piece.message.content, tokens, time.perf_counter() - began)
    raise RuntimeError("the model's stream ended without a reply")


class LlamaCpp:
    """The GGUF file through llama.cpp, prompted as ours is, without a grammar."""

    def __init__(self, gguf: Path, threads: int, loaded: LoadedModel) -> None:
        self._llama = LlamaContext(gguf, threads, context=CONTEXT)
        self._loaded = loaded

    def answer(self, case: Case, request: ModelRequest) -> tuple[Outcome, Outcome]:
        """The same reply, read strictly and leniently."""
        loaded = self._loaded
        prompt = loaded.engine.tokenizer.encode(loaded.writer.write(request), add_special_tokens=False).ids
        began = time.perf_counter()
        tokens = list(self._decode(prompt))
        seconds = time.perf_counter() - began
        pieces = Detokeniser(loaded.token_bytes)
        text = pieces.feed(tokens) + pieces.finish()
        reply = ReplyBuilder(case.tools, tool_format=loaded.tool_format)
        list(reply.feed(text, 0))
        list(reply.finish(0, truncated=len(tokens) == LIMIT))
        lenient: Calls = [(call.name, call.arguments) for call in reply.message.tool_calls]
        strict = read_strictly(text, loaded.tool_format)
        return (
            judge(case, STRICT, strict, text, len(tokens), seconds),
            judge(case, LENIENT, lenient, text, len(tokens), seconds),
        )

    def close(self) -> None:
        self._llama.close()

    def _decode(self, prompt: Sequence[int]) -> Iterator[int]:
        self._llama.forget()
        token = self._llama.prompt(prompt)
        for position in range(len(prompt), len(prompt) + LIMIT):
            if token in self._loaded.engine.config.eos_ids:
                return
            yield token
            token = self._llama.prompt([token], start=position)


def judge(case: Case, side: str, calls: Calls, text: str, tokens: int, seconds: float) -> Outcome:
    schemas = {tool.name: tool.parameters for tool in case.tools}
    valid = bool(calls) and all(
        name in schemas and Draft202012Validator(schemas[name]).is_valid(dict(arguments)) for name, arguments in calls
    )
    return Outcome(case.id, case.category, side, case.is_right(calls), valid, calls, text, tokens, seconds)


def tell(report: Report, name: str, bar: float | None, outcomes: Sequence[Outcome]) -> None:
    sides = {side: [o for o in outcomes if o.side == side] for side in (OURS, STRICT, LENIENT)}
    called = {side: [o for o in found if o.calls] for side, found in sides.items()}
    for side, found in sides.items():
        if found:
            valid = sum(o.valid for o in called[side])
            wrong = sum(o.valid and not o.right for o in found)
            say(
                f"{name}, {side}: right {sum(o.right for o in found)} of {len(found)}, called {len(called[side])},"
                f" of these valid {valid}, valid but wrong {wrong}; {fmean(o.tokens for o in found):.0f} tokens and"
                f" {fmean(o.seconds for o in found):.1f} s a case"
            )
    report.add(Result(f"right, {name}", "share", fmean(o.right for o in sides[OURS]), bar=bar))
    for side in (STRICT, LENIENT):
        if sides[side]:
            report.add(Result(f"right, {name}, {side}", "share", fmean(o.right for o in sides[side])))
    if called[OURS]:
        report.add(Result(f"calls that parse and fit, {name}", "share", fmean(o.valid for o in called[OURS]), bar=1.0))


if __name__ == "__main__":
    main(run)
