"""A model that hands each turn of a conversation to one of several others: `router:FILE.yaml`.

The first rule that holds decides; where none does, a classifier on embeddings compares the message with each route's
examples, and the default is taken where it is unsure. The choice is made once for a turn, from the last message that a
person wrote, and kept for the rounds of tools that follow it, so that a model's prefix cache serves the whole turn.
Where the chosen model cannot be opened or reached, or the prompt does not fit it, the default takes its place, then the
others as they stand in the file; every such step is told. Models are opened when they are first needed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from openhearth.config import Settings
from openhearth.errors import ContextOverflowError, ModelError, ModelUnavailableError
from openhearth.models.backends.router_choice import Chooser
from openhearth.models.backends.router_file import RouterFile, read_router_file
from openhearth.models.backends.router_rules import task
from openhearth.models.base import Model, ProgressCallback
from openhearth.models.catalog import find_entry
from openhearth.models.open import open_model
from openhearth.models.reference import resolve_reference
from openhearth.types import ModelInfo, ModelRequest, Piece, Routing

_TURNS = 256
"""How many turns are remembered; a forgotten one is decided again, by the same rules."""
_ROOM = 32
"""Tokens of context that must be left for a reply, for a prompt to fit."""


@dataclass(slots=True)
class _Turn:
    """A turn that was decided. `text` is the person's message; `failed` says what stopped a route, by its name."""

    text: str
    choice: Routing
    failed: dict[str, str] = field(default_factory=dict)
    told: Routing | None = None


class RouterModel:
    """Implements `openhearth.models.base.Model`. `info.context_length` is that of the route with the longest."""

    def __init__(
        self, file: RouterFile, settings: Settings, *, reference: str, progress: ProgressCallback | None = None
    ) -> None:
        self.file = file
        self._settings, self._progress = settings, progress
        self._chooser = Chooser(file, settings, progress)
        self._models: dict[str, Model] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._turns: OrderedDict[tuple[str, int], _Turn] = OrderedDict()
        longest = max(_expected_context(route.model, settings) for route in file.routes)
        self._info = ModelInfo(reference=reference, backend="router", context_length=longest)

    @classmethod
    def from_file(
        cls, file: Path, settings: Settings, *, reference: str | None = None, progress: ProgressCallback | None = None
    ) -> Self:
        """Raises ModelUnavailableError when the file cannot be read, ConfigError (with lines) when it is wrong."""
        content = read_router_file(file.expanduser())
        return cls(content, settings, reference=reference or f"router:{file}", progress=progress)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def decide(self, request: ModelRequest) -> Routing:
        """The choice for this request alone: nothing is remembered, and none of the models is opened."""
        return await self._chooser.choose(request)

    async def count_tokens(self, request: ModelRequest) -> int | None:
        _, model = await self._settle(await self._turn(request), request)
        return await model.count_tokens(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Before the first text comes a `Routing`, where the turn was newly decided or had to change its model."""
        turn = await self._turn(request)
        if turn.told and task(request)[0] == len(request.messages) - 1:
            # The same words in the same place, but somebody says them anew.
            turn.failed.clear()
            turn.told = None
        while True:
            routing, model = await self._settle(turn, request)
            if routing != turn.told:
                turn.told = routing
                yield routing
            begun = False
            try:
                async with aclosing(model.stream(request)) as pieces:  # type: ignore[type-var]  # all are generators
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except (ModelUnavailableError, ContextOverflowError) as error:
                turn.failed[routing.route] = error.message
                if begun or len(turn.failed) == len(self.file.routes):
                    turn.failed.clear()
                    raise

    async def aclose(self) -> None:
        self._chooser.close()
        while self._models:
            await self._models.popitem()[1].aclose()

    async def _turn(self, request: ModelRequest) -> _Turn:
        place, text = task(request)
        before = "\0".join(message.content for message in request.messages[: max(0, place)])
        key = hashlib.sha256(before.encode()).hexdigest(), place
        turn = self._turns.get(key)
        if turn is None or not _same(text, turn.text):
            turn = self._turns[key] = _Turn(text, await self._chooser.choose(request))
            while len(self._turns) > _TURNS:
                self._turns.popitem(last=False)
        return turn

    async def _settle(self, turn: _Turn, request: ModelRequest) -> tuple[Routing, Model]:
        """The turn's first route that is there and that the request fits. Where it fits none, the roomiest."""
        roomiest: tuple[int, str, Model] | None = None
        for name in self.file.order(turn.choice.route):
            if name in turn.failed:
                continue
            try:
                model = await self._open(self.file.route(name).model)
                tokens = await model.count_tokens(request)
            except ModelUnavailableError as error:
                turn.failed[name] = error.message
                continue
            room = model.info.context_length
            if tokens is None or tokens + min(_ROOM, room // 8) <= room:
                return self._routing(turn, name), model
            turn.failed[name] = f"the prompt's {tokens:,} tokens do not fit its context of {room:,}"
            if roomiest is None or room > roomiest[0]:
                roomiest = room, name, model
        if roomiest is not None:
            del turn.failed[roomiest[1]]
            return self._routing(turn, roomiest[1]), roomiest[2]
        reasons = "; ".join(f"{name}: {reason}" for name, reason in turn.failed.items())
        turn.failed.clear()
        raise ModelUnavailableError(
            f"No model of {self._info.reference} can answer: {reasons}",
            hint="Pull one of them, start its server, or add a route.",
        )

    def _routing(self, turn: _Turn, name: str) -> Routing:
        order = self.file.order(turn.choice.route)
        passed = [f"{each}: {turn.failed[each]}" for each in order[: order.index(name)] if each in turn.failed]
        return turn.choice.model_copy(
            update={"route": name, "model": self.file.route(name).model, "passed_over": tuple(passed)}
        )

    async def _open(self, reference: str) -> Model:
        async with self._opening.setdefault(reference, asyncio.Lock()):
            if reference not in self._models:
                self._models[reference] = await open_model(reference, self._settings, progress=self._progress)
            return self._models[reference]


def _same(text: str, known: str) -> bool:
    """Whether it is one message: the runtime may add a notice below it, which makes no other turn of it."""
    return text == known or text.startswith(f"{known}\n\n") or known.startswith(f"{text}\n\n")


def _expected_context(reference: str, settings: Settings) -> int:
    """The context that a route's model will have, without opening it."""
    try:
        resolved = resolve_reference(reference)
        if resolved.kind == "catalog":
            return min(settings.model.context, find_entry(resolved.name).context)
        if resolved.kind == "scripted":
            from openhearth.models.backends.scripted import ScriptedModel

            return ScriptedModel.from_file(Path(resolved.value)).info.context_length
    except ModelError:
        return 1
    return settings.remote.context if resolved.kind == "remote" else settings.model.context
