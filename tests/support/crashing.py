"""A process that runs an agent and dies where it is told to. `Lives` starts such processes, one life after the other.

The processes are forked from a server that has the imports done. What happened is told by files: `effects.txt` gets a
line for each side effect, `NAME.json` is what the process had to say, if it lived to say it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event as sql_events

from openhearth.agents.runtime import Runtime
from openhearth.agents.spec import AgentSpec
from openhearth.config import load_settings
from openhearth.events import ApprovalRequested, Event, RunFinished
from openhearth.models.backends.scripted import ScriptedCall, ScriptedModel, ScriptedTurn
from openhearth.tools.base import Tool, ToolContext
from openhearth.tools.function import tool
from openhearth.types import ApprovalPolicy, ModelRequest, Piece

_FORKS = multiprocessing.get_context("forkserver")
# What is slow to import. The server does not know pytest's path, so this module itself cannot be among it.
_FORKS.set_forkserver_preload(
    ["openhearth.agents.runtime", "openhearth.models.backends.scripted", "openhearth.tools.function", "alembic.command"]
)

TOOLS = 3


@dataclass(frozen=True)
class Death:
    """Where to die: before the n-th commit, in the n-th tool call before or after its effect, or at the n-th token."""

    commit: int = 0
    before_effect: int = 0
    after_effect: int = 0
    token: int = 0
    finish_then_die: bool = False


@dataclass(frozen=True)
class Plot:
    """What the process does. `idempotent`: the kind of tool; `resume`: a run, else a new one."""

    folder: Path
    name: str
    death: Death = Death()
    idempotent: bool = False
    approve: ApprovalPolicy = "auto"
    resume: str | None = None
    calls: int = TOOLS
    delay_s: float = 0.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _tool(plot: Plot) -> Tool:
    done = 0

    @tool(idempotent=plot.idempotent)
    async def effect(number: int, context: ToolContext) -> str:
        """Has a side effect."""
        nonlocal done
        done += 1
        if done == plot.death.before_effect:
            die()
        with (plot.folder / "effects.txt").open("a") as file:
            file.write(f"{number} {context.idempotency_key}\n")
        if done == plot.death.after_effect:
            die()
        await asyncio.sleep(plot.delay_s)
        return f"effect {number}"

    return effect


class _Mortal(ScriptedModel):
    """Dies at its n-th piece."""

    death = 0
    _pieces = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        async for piece in super().stream(request):
            self._pieces += 1
            if self._pieces == self.death:
                die()
            yield piece


def _model(plot: Plot) -> ScriptedModel:
    turns = [
        ScriptedTurn(
            text=f"I will do number {number}.",
            calls=(ScriptedCall(name="effect", arguments={"number": number}),),
            delay_s=plot.delay_s,
        )
        for number in range(1, plot.calls + 1)
    ]
    model = _Mortal([*turns, ScriptedTurn(text="All done.")])
    model.death = plot.death.token
    return model


def cast_of(folder: Path) -> tuple[list[Tool], ScriptedModel]:
    """The tools and the model of every life, for a test that goes on in its own process."""
    plot = Plot(folder, "test")
    return [_tool(plot)], _model(plot)


def _die_at_commit(number: int) -> None:
    commits = 0

    @sql_events.listens_for(Engine, "commit")
    def before(connection: Any) -> None:
        nonlocal commits
        commits += not connection.get_execution_options().get("hearth_reader", False)
        if commits == number:
            die()


async def _live(plot: Plot) -> None:
    async with await Runtime.open(load_settings()) as runtime:
        if plot.death.commit:
            _die_at_commit(plot.death.commit)
        tools, model = [_tool(plot)], _model(plot)
        if plot.resume:
            stream = runtime.resume(plot.resume, tools=tools, model=model)
        else:
            spec = AgentSpec(model="scripted:", workspace=str(plot.folder), approve=plot.approve)
            stream = runtime.run("Do it.", spec, tools=tools, model=model)
        questions = []
        async for event in stream:
            (plot.folder / "run_id").write_text(event.run_id)
            if isinstance(event, ApprovalRequested):
                questions.append(event.approval_id)
            if isinstance(event, RunFinished):
                if plot.death.finish_then_die:
                    die()
                _tell(plot, event, questions)


def _tell(plot: Plot, event: Event, questions: Sequence[str]) -> None:
    told = {"event": event.model_dump(mode="json"), "questions": questions}
    (plot.folder / f"{plot.name}.json").write_text(json.dumps(told))


def live(plot: Plot) -> None:
    """The process's main function."""
    os.environ["HEARTH_HOME"] = str(plot.folder / "home")
    asyncio.run(_live(plot))


@dataclass(frozen=True)
class Told:
    """What a process said before it ended; nothing when it was killed."""

    status: str = ""
    output: str = ""
    tool_calls: int = 0
    questions: tuple[str, ...] = ()


class Lives:
    """The lives of one run, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def start(self, **plot: Any) -> Any:
        """A process that lives; `wait` for it."""
        self._count += 1
        process = _FORKS.Process(target=live, args=(Plot(self.folder, f"life-{self._count}", **plot),))
        process.start()
        return process

    def wait(self, process: Any) -> Told:
        process.join()
        process.close()
        file = self.folder / f"life-{self._count}.json"
        if not file.exists():
            return Told()
        told = json.loads(file.read_text())
        event = told["event"]
        return Told(event["status"], event["output"], event["tool_calls"], tuple(told["questions"]))

    def live(self, **plot: Any) -> Told:
        return self.wait(self.start(**plot))

    @property
    def run_id(self) -> str | None:
        """None when the run never came to be."""
        file = self.folder / "run_id"
        return file.read_text() if file.exists() else None

    @property
    def effects(self) -> list[int]:
        return [int(line.split()[0]) for line in self._lines]

    @property
    def keys(self) -> list[str]:
        return [line.split()[1] for line in self._lines]

    @property
    def _lines(self) -> list[str]:
        file = self.folder / "effects.txt"
        return file.read_text().splitlines() if file.exists() else []
