"""A router against always taking the larger model: how often it is right, what it saves, and what it costs in answers.

    python benchmarks/router.py [--router FILE] [--prompts FILE] [--limit N] [--tokens 64] [--json]

The router is `examples/router.yaml`; the prompts of `router_prompts.yaml` were held out from its examples and from
every choice made while it was built. Each prompt is decided on, and answered greedily by each of the two models, in
turns. With the router a prompt takes the time of the decision and of the model that it goes to; without, that of the
larger one. An answer is right when it matches the prompt's regular expression; prompts that have none are timed but not
judged.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import yaml
from _harness import Report, Result, main, say

from openhearth.config import load_settings
from openhearth.models.backends.router import RouterModel
from openhearth.models.base import Model
from openhearth.models.open import open_model
from openhearth.types import Message, ModelRequest, Reply, Sampling, Value

HERE = Path(__file__).parent
SMALL, LARGE = "small", "large"
SYSTEM = "You are a helpful assistant. Answer briefly."


class Prompt(Value):
    """Where it belongs, and what a right answer matches."""

    route: str
    text: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt: where it was sent, and for each route the seconds and whether the answer was right."""

    prompt: Prompt
    route: str
    decision_s: float
    seconds: dict[str, float]
    right: dict[str, bool]


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object a line")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    parser.add_argument("--router", type=Path, default=HERE.parent / "examples" / "router.yaml", help="the router")
    parser.add_argument("--prompts", type=Path, default=HERE / "router_prompts.yaml", help="the held-out prompts")
    parser.add_argument("--limit", type=int, help="only so many prompts of each kind")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer at most (64)")
    options = parser.parse_args()
    prompts = [Prompt.model_validate(each) for each in yaml.safe_load(options.prompts.read_text(encoding="utf-8"))]
    chosen = [each for kind in (SMALL, LARGE) for each in [p for p in prompts if p.route == kind][: options.limit]]
    report = Report(options)
    add_results(asyncio.run(ask_all(options.router, chosen, options.tokens)), report)
    return report.finish()


async def ask_all(file: Path, prompts: list[Prompt], tokens: int) -> list[Asked]:
    settings = load_settings({"model": {"context": 1024}})
    router = RouterModel.from_file(file, settings)
    models = {name: await open_model(router.file.route(name).model, settings) for name in (SMALL, LARGE)}
    try:
        await ask(router, models, prompts[0], tokens)
        return [await ask(router, models, prompt, tokens) for prompt in prompts]
    finally:
        for model in (router, *models.values()):
            await model.aclose()


async def ask(router: RouterModel, models: dict[str, Model], prompt: Prompt, tokens: int) -> Asked:
    messages = (Message(role="system", content=SYSTEM), Message(role="user", content=prompt.text))
    request = ModelRequest(messages=messages, sampling=Sampling(max_tokens=tokens))
    began = time.perf_counter()
    routing = await router.decide(request)
    decision_s = time.perf_counter() - began
    seconds, right = {}, {}
    for name, model in models.items():
        began = time.perf_counter()
        answer = await reply(model, request)
        seconds[name] = time.perf_counter() - began
        right[name] = re.search(prompt.answer, answer, re.IGNORECASE) is not None
    marks = " ".join(f"{name}: {'right' if good else 'wrong'}" for name, good in right.items() if prompt.answer)
    say(f"  to {routing.route}{'' if routing.route == prompt.route else ' (MISTAKEN)'}; {marks}; {prompt.text[:70]}")
    return Asked(prompt, routing.route, decision_s, seconds, right)


async def reply(model: Model, request: ModelRequest) -> str:
    async with aclosing(model.stream(request)) as pieces:  # type: ignore[type-var]  # every backend's is a generator
        async for piece in pieces:
            if isinstance(piece, Reply):
                return piece.message.content
    raise RuntimeError("a stream ended without its reply")


def add_results(asked: list[Asked], report: Report) -> None:
    def share(of: list[bool]) -> float:
        return sum(of) / len(of)

    judged = [each for each in asked if each.prompt.answer]
    routed_s = sum(each.decision_s + each.seconds[each.route] for each in asked)
    large_s = sum(each.seconds[LARGE] for each in asked)
    routed = share([each.right[each.route] for each in judged])
    always = {name: share([each.right[name] for each in judged]) for name in (SMALL, LARGE)}
    report.add(Result("sent where it belongs", "share", share([each.route == each.prompt.route for each in asked])))
    report.add(Result("sent to the small model", "share", share([each.route == SMALL for each in asked])))
    report.add(Result("time of a decision", "ms", 1e3 * statistics.median(each.decision_s for each in asked)))
    report.add(Result("seconds for all prompts", "s", routed_s, "always large", large_s, at_most=True))
    report.add(Result("right answers", "share", routed, "always large", always[LARGE]))
    report.add(Result("right answers, small model alone", "share", always[SMALL], "always large", always[LARGE]))
    for kind in (SMALL, LARGE):
        of_kind = [each for each in judged if each.prompt.route == kind]
        ours, large = (share([each.right[name] for each in of_kind]) for name in (SMALL, LARGE))
        name = f"right on prompts for the {kind} model, small alone"
        report.add(Result(name, "share", ours, "always large", large))


if __name__ == "__main__":
    main(run)
