"""The SDK: an agent in a few lines.

    from openhearth import Agent, tool

    @tool(read_only=True)
    def weather(city: str) -> str:
        "The weather in a city."
        return "sunny"

    with Agent("You are brief.", tools=[weather, "python"]) as agent:
        result = agent.run("What is the weather in Rome?").raise_for_status()
        print(result.output)
        agent.run("And tomorrow?", thread=result.thread_id)

`run`, `resume` and `decide` are synchronous and work inside a running event loop too; `arun`, `aresume`, `adecide`
and `stream` run in the caller's loop. An agent that is not closed keeps its model until the process ends.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Generic, Self

from pydantic import JsonValue

from openhearth.agents import hosting
from openhearth.agents.result import OutputT, RunResult, make_result
from openhearth.agents.runtime import Runtime
from openhearth.agents.spec import AgentSpec, Limits
from openhearth.config import Settings, load_settings
from openhearth.errors import ConfigError
from openhearth.events import ApprovalRequested, Event, RunFinished
from openhearth.models.base import Model
from openhearth.tools.base import Tool
from openhearth.types import ApprovalPolicy, Sampling

__all__ = ["Agent", "RunResult"]


class Agent(Generic[OutputT]):
    """Instructions, a model, tools and limits. Runs of one agent may overlap.

    Args:
        instructions: What the agent is and how it should work.
        model: A model reference, or an open Model, which stays yours; by default the settings' model.
        tools: Names of built-in tools, and functions decorated with `@tool`.
        workspace: The folder that built-in tools may read and change.
        approve: What happens to calls that are not read-only: `ask`, `auto` or `never`; by default the settings'.
        output_type: A pydantic model that the final answer must fit; the result then has it as `parsed`.
        sampling: How tokens are chosen; by default the settings'.
        limits: Bounds of one run; by default the settings'.
        name: Shown in lists.
        settings: Instead of the ones that `load_settings()` reads.

    Raises ConfigError for a tool that is none and for a workspace that is no folder.
    """

    def __init__(
        self,
        instructions: str = "",
        *,
        model: str | Model | None = None,
        tools: Sequence[str | Tool] = (),
        workspace: str | Path = ".",
        approve: ApprovalPolicy | None = None,
        output_type: type[OutputT] | None = None,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
        name: str = "agent",
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self._model = None if model is None or isinstance(model, str) else model
        self._tools = tuple(_checked(each) for each in tools if not isinstance(each, str))
        self._output_type = output_type
        spec = AgentSpec.from_settings(
            self.settings,
            model=self._model.info.reference if self._model else model if isinstance(model, str) else None,
            name=name,
            instructions=instructions,
            tools=[each if isinstance(each, str) else each.spec.name for each in tools],
            workspace=workspace,
            approve=approve,
            output_schema=output_type.model_json_schema() if output_type else None,
        )
        changes: Mapping[str, Any] = {"sampling": sampling, "limits": limits}
        self.spec = spec.model_copy(update={key: value for key, value in changes.items() if value is not None})
        self._joined: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = weakref.WeakKeyDictionary()

    # -- synchronous

    def run(self, task: str, thread: str | None = None) -> RunResult[OutputT]:
        """Work on `task` until it is done, failed, or waits for a person; `thread` goes on with a conversation."""
        return hosting.LoopThread.get().run(self.arun(task, thread))

    def resume(self, run_id: str) -> RunResult[OutputT]:
        """Go on with a run that waited or was interrupted."""
        return hosting.LoopThread.get().run(self.aresume(run_id))

    def decide(
        self, approval_id: str, *, approve: bool, reason: str = "", arguments: dict[str, JsonValue] | None = None
    ) -> None:
        """Answer a question of a waiting run; `resume` it then. `arguments` replace the call's own."""
        hosting.LoopThread.get().run(self.adecide(approval_id, approve=approve, reason=reason, arguments=arguments))

    def close(self) -> None:
        """Let go of what synchronous calls opened."""
        hosting.LoopThread.get().run(self.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- asynchronous

    async def arun(self, task: str, thread: str | None = None) -> RunResult[OutputT]:
        """As `run`. Cancelling the call cancels the run."""
        return await self._collect(self.stream(task, thread))

    async def aresume(self, run_id: str) -> RunResult[OutputT]:
        """As `resume`."""
        runtime = await self._runtime()
        return await self._collect(runtime.resume(run_id, tools=self._tools, model=self._model))

    async def adecide(
        self, approval_id: str, *, approve: bool, reason: str = "", arguments: dict[str, JsonValue] | None = None
    ) -> None:
        """As `decide`."""
        runtime = await self._runtime()
        await runtime.decide(approval_id, approve=approve, reason=reason, arguments=arguments, by="sdk")

    async def stream(self, task: str, thread: str | None = None) -> AsyncGenerator[Event, None]:
        """The run's events as they happen; the last is RunFinished. Closing the iterator cancels the run."""
        runtime = await self._runtime()
        running = runtime.run(task, self.spec, thread_id=thread, tools=self._tools, model=self._model)
        async with aclosing(running) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Let go of what calls in this event loop opened."""
        if self._joined.pop(asyncio.get_running_loop(), None) is not None:
            await hosting.leave(self.settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- inside

    async def _runtime(self) -> Runtime:
        loop = asyncio.get_running_loop()
        runtime = self._joined.get(loop)
        if runtime is None:
            runtime = await hosting.join(self.settings)
            if loop in self._joined:  # another call of this agent was faster
                await hosting.leave(self.settings)
            self._joined[loop] = runtime
        return runtime

    async def _collect(self, stream: AsyncGenerator[Event, None]) -> RunResult[OutputT]:
        finished: RunFinished | None = None
        questions: list[ApprovalRequested] = []
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, ApprovalRequested):
                    questions.append(event)
                elif isinstance(event, RunFinished):
                    finished = event
        if finished is None:
            raise AssertionError("a run's stream ended without RunFinished")
        runtime = await self._runtime()
        messages = await runtime.run_messages(finished.run_id)
        return make_result(finished, tuple(messages), tuple(questions), self._output_type)


def _checked(tool: Tool) -> Tool:
    if hasattr(tool, "spec") and hasattr(tool, "validate"):
        return tool
    name = getattr(tool, "__name__", repr(tool))
    raise ConfigError(f"{name} is not a tool.", hint="Decorate the function with @tool.")
