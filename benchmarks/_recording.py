"""A recorded conversation of the default agent with its model, and how it is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from _harness import say

from openhearth.agents.agent import Agent
from openhearth.config import load_settings
from openhearth.models.base import Model
from openhearth.models.open import open_model
from openhearth.tools.builtin import BUILTIN_TOOLS
from openhearth.types import Message, ModelInfo, ModelRequest, Piece, Reply, ToolSpec, Value

DATA = Path(__file__).parents[1] / "examples" / "data"
STEPS = 10
QUESTIONS = (
    "Which customer spent the most in March, and how much?",
    "Which month had the highest revenue, and what was it?",
    "Which product sold the most units to customers in Germany, and how many units?",
    "Which category brought in the most revenue in the third quarter, and how much?",
    "How many different customers bought a Garden bench in June?",
    "What was the total revenue from Kitchen products in December?",
    "Which customer placed the most orders, and how many?",
)


class Recording(Value):
    """`replies`: each one's place among `messages`, which is also the length of its prompt, and its tokens."""

    model: str
    tools: tuple[ToolSpec, ...]
    messages: tuple[Message, ...]
    replies: tuple[tuple[int, int], ...]


class Recorder:
    """A model that remembers what it was asked and what it said."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.rounds: list[tuple[ModelRequest, Reply]] = []

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    async def count_tokens(self, request: ModelRequest) -> int | None:
        return await self._model.count_tokens(request)

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        async with aclosing(self._model.stream(request)) as pieces:  # type: ignore[type-var]  # every backend's is a generator
            async for piece in pieces:
                if isinstance(piece, Reply):
                    self.rounds.append((request, piece))
                yield piece

    async def aclose(self) -> None:
        await self._model.aclose()


def record(file: Path) -> None:
    """Put the questions to the default agent, in one conversation, until it has worked ten steps. Writes `file`."""
    recording = asyncio.run(_record())
    file.write_text(recording.model_dump_json(indent=1, exclude_defaults=True) + "\n", encoding="utf-8")


async def _record() -> Recording:
    settings = load_settings({"agent": {"approve": "auto"}})
    model = Recorder(await open_model(settings.model.default, settings))
    agent = Agent(model=model, tools=BUILTIN_TOOLS, workspace=DATA, settings=settings)
    thread = None
    for question in QUESTIONS:
        result = await agent.arun(question, thread)
        thread = result.thread_id
        say(f"{question} {result.status}, {len(model.rounds)} steps so far: {result.output[:200]}")
        if len(model.rounds) >= STEPS:
            break
    await model.aclose()
    return _joined(settings.model.default, model.rounds[:STEPS])


def _joined(name: str, rounds: list[tuple[ModelRequest, Reply]]) -> Recording:
    """One conversation of all rounds. Raises SystemExit where a later prompt does not begin with an earlier one."""
    messages: tuple[Message, ...] = ()
    replies = []
    for request, reply in rounds:
        if request.messages[: len(messages)] != messages:
            at = next(i for i, (a, b) in enumerate(zip(messages, request.messages, strict=False)) if a != b)
            raise SystemExit(f"Message {at} changed from step to step: {messages[at]} {request.messages[at]}")
        replies.append((len(request.messages), reply.usage.completion_tokens))
        messages = (*request.messages, reply.message)
    return Recording(model=name, tools=rounds[0][0].tools, messages=messages, replies=tuple(replies))
