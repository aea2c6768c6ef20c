"""A stage for runs: the real runtime, database and scripted model; tools are small real functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from openhearth.agents.runtime import Runtime
from openhearth.agents.spec import AgentSpec, Limits
from openhearth.events import ApprovalRequested, Event, Notice, RunFinished
from openhearth.models.backends.scripted import Script, ScriptedCall, ScriptedModel, ScriptedTurn
from openhearth.tools.base import Tool
from openhearth.types import ModelRequest, Piece

E = TypeVar("E")


def turn(text: str = "", *calls: tuple[str, dict[str, Any]], **more: Any) -> ScriptedTurn:
    """A scripted reply."""
    return ScriptedTurn(text=text, calls=tuple(ScriptedCall(name=n, arguments=a) for n, a in calls), **more)


class WatchedModel(ScriptedModel):
    """A scripted model that remembers what it was asked."""

    def __init__(self, turns: Sequence[ScriptedTurn], *, context: int = 32_768) -> None:
        super().__init__(Script(turns=tuple(turns), context=context))
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        self.requests.append(request)
        async for piece in super().stream(request):
            yield piece


@dataclass
class Played:
    """A stream that was read to its end."""

    events: list[Event] = field(default_factory=list)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def finished(self) -> RunFinished:
        (only,) = self.of(RunFinished)
        assert self.events[-1] is only
        return only

    @property
    def run_id(self) -> str:
        return self.finished.run_id

    @property
    def notices(self) -> list[str]:
        return [notice.text for notice in self.of(Notice)]

    @property
    def question(self) -> ApprovalRequested:
        (only,) = self.of(ApprovalRequested)
        return only


async def read(stream: AsyncIterator[Event]) -> Played:
    return Played([event async for event in stream])


class Stage:
    """Plays runs. The tools and the model of the last `run` also serve `resume`."""

    def __init__(self, runtime: Runtime, workspace: Path) -> None:
        self.runtime = runtime
        self.workspace = workspace
        self.tools: Sequence[Tool] = ()
        self.model = WatchedModel([turn("?")])

    def spec(self, **changes: Any) -> AgentSpec:
        limits = {name: changes.pop(name) for name in [*changes] if name in Limits.model_fields}
        values: dict[str, Any] = {"model": "scripted:", "workspace": str(self.workspace), "approve": "auto"}
        return AgentSpec(**(values | changes), limits=Limits(**limits))

    async def run(
        self,
        task: str,
        turns: Sequence[ScriptedTurn],
        *tools: Tool,
        thread_id: str | None = None,
        context: int = 32_768,
        **spec: Any,
    ) -> Played:
        self.tools, self.model = tools, WatchedModel(turns, context=context)
        return await read(self.stream(task, thread_id=thread_id, **spec))

    def stream(self, task: str, *, thread_id: str | None = None, **spec: Any) -> AsyncIterator[Event]:
        return self.runtime.run(task, self.spec(**spec), thread_id=thread_id, tools=self.tools, model=self.model)

    async def resume(self, run_id: str) -> Played:
        return await read(self.runtime.resume(run_id, tools=self.tools, model=self.model))

    async def history(self, thread_id: str) -> list[tuple[str, str]]:
        return [(e.message.role, e.message.content) for e in await self.runtime.thread_history(thread_id)]
