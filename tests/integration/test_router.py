"""The example's router with the real embedding model, and real models behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth import paths
from openhearth.config import load_settings
from openhearth.models.backends.router import RouterModel
from openhearth.models.backends.router_file import read_router_file
from openhearth.types import Message, ModelRequest, Reply, Routing, Sampling, ToolSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "router.yaml"
TOOL = ToolSpec(name="sql", description="", parameters={"type": "object"})

pytestmark = pytest.mark.slow


@pytest.fixture
async def router(minilm_store: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RouterModel]:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(minilm_store.parents[2]))
    router = RouterModel.from_file(EXAMPLE, load_settings({"model": {"auto_pull": False, "context": 512}}))
    yield router
    await router.aclose()


def asked(text: str, tokens: int = 4, tools: tuple[ToolSpec, ...] = ()) -> ModelRequest:
    messages = (Message(role="user", content=text),)
    return ModelRequest(messages=messages, tools=tools, sampling=Sampling(max_tokens=tokens))


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("What is the capital of Norway?", "small"),
        ("Say hello in German.", "small"),
        ("Write a Python function that reverses a linked list.", "large"),
        ("A car drives 120 km in 90 minutes. How fast is that in metres a second?", "large"),
    ],
)
async def test_requests_are_told_apart_by_the_examples(router: RouterModel, text: str, route: str) -> None:
    routing = await router.decide(asked(text))
    assert (routing.route, routing.rule) == (route, "")
    assert routing.scores.keys() == {"small", "large"}
    assert sum(routing.scores.values()) == pytest.approx(1, abs=1e-5)
    assert routing == await router.decide(asked(text))


async def test_rules_come_before_the_classifier(router: RouterModel) -> None:
    routing = await router.decide(asked("Say hello in German.", tools=(TOOL,)))
    assert (routing.route, routing.rule, routing.scores) == ("large", "tools", {})


async def test_every_example_goes_where_it_was_put(router: RouterModel) -> None:
    for route in read_router_file(EXAMPLE).routes:
        for example in route.examples:
            routing = await router.decide(asked(example))
            assert routing.route == route.name, f"{example}: {routing.reason}"


async def test_the_small_model_answers_and_the_large_one_stays_closed(smollm2_store: Path, router: RouterModel) -> None:
    pieces = [piece async for piece in router.stream(asked("Say hello in German."))]
    assert isinstance(pieces[0], Routing)
    assert pieces[0].model == "smollm2-135m"
    assert isinstance(pieces[-1], Reply)
    assert 1 <= pieces[-1].usage.completion_tokens <= 4
    assert [*router._models] == ["smollm2-135m"]
