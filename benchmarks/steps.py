"""What durability costs: milliseconds and bytes per step of an agent's loop, without the model.

    python benchmarks/steps.py [--json] [--check] [--without-peers] [--repeats 5]

Ours is the whole runtime: graph, ledger, messages, events, steps and checkpoints, driven by a model that answers at
once and a tool that does nothing, yet counts as one that may not be repeated. The peer is LangGraph's own
AsyncSqliteSaver under the usual two-node graph, which keeps its messages in the state and has no ledger and no event
log. Both keep the same conversation, both with `durability="sync"`, both wait for the disk. A step is one superstep: a
model round or a tool call. Results are as long as a screen of output, 1,500 characters.

The databases are made in the working folder: run it where the state will be, since much of a step is waiting for the
disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _harness import Report, Result, in_turns, main, medians, require_peers, say

from openhearth.agents.runtime import Runtime
from openhearth.agents.spec import AgentSpec, Limits
from openhearth.config import load_settings
from openhearth.events import RunFinished
from openhearth.storage.store import Store
from openhearth.tools.function import tool
from openhearth.types import Message, ModelInfo, ModelRequest, Piece, Reply, ToolCall

THOUGHT = "I shall look at the next page of orders and add up what I find there before I go on. " * 2
RESULT = "2026-03-14  Ada Ltd.     12 x 4.50     54.00\n" * 33
SHORT, LONG = 100, 1_000
OURS, PEER = "openhearth", "AsyncSqliteSaver"
STEP_MS, STEP_RATIO = 5.0, 0.5
GROWTH = 1.1
"""How much larger a step may be at 1,000 steps than at 100; the database's fixed part makes it smaller."""


@tool
def read_page(number: int) -> str:
    """Read one page."""
    return f"{RESULT} {number}"


class PromptModel:
    """Answers at once: calls the tool until the conversation holds enough results."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(reference="benchmark", backend="scripted", context_length=10_000_000)

    async def count_tokens(self, request: ModelRequest) -> int | None:
        return len(request.messages)

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        done = sum(message.role == "tool" for message in request.messages)
        call = ToolCall(id=f"call_{done}", name="read_page", arguments={"number": done})
        more = done < self._calls
        yield Reply(message=Message(role="assistant", content=THOUGHT, tool_calls=(call,) if more else ()))

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Measured:
    ms_per_step: float
    bytes_per_step: float


async def ours(folder: Path, steps: int) -> Measured:
    calls = steps // 2
    settings = load_settings(folder=folder)
    unlimited = Limits(max_steps=10**6, max_tool_calls=10**6, max_tokens=10**9, max_time_s=10**6)
    spec = AgentSpec(model="benchmark", workspace=str(folder), approve="auto", limits=unlimited)
    file = folder / "ours.db"
    with Store.open(f"sqlite:///{file}") as store:
        runtime = await Runtime.open(settings, store=store)
        begun = time.perf_counter()
        async for event in runtime.run("Add it all up.", spec, tools=[read_page], model=PromptModel(calls)):
            last = event
        took = time.perf_counter() - begun
        await runtime.aclose()
    if not isinstance(last, RunFinished) or (last.status, last.tool_calls) != ("done", calls):
        sys.exit(f"the run did not do its work: {last}")
    return Measured(took / (2 * calls + 2) * 1e3, _size(file) / (2 * calls + 2))


async def peer(folder: Path, steps: int) -> Measured:
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, MessagesState, StateGraph

    calls = steps // 2

    async def model(state: MessagesState) -> dict[str, Any]:
        done = sum(isinstance(message, ToolMessage) for message in state["messages"])
        call = {"id": f"call_{done}", "name": "read_page", "args": {"number": done}}
        return {"messages": [AIMessage(THOUGHT, tool_calls=[call] if done < calls else [])]}

    async def tools(state: MessagesState) -> dict[str, Any]:
        (call,) = state["messages"][-1].tool_calls  # type: ignore[union-attr]  # route sends only those with calls
        return {"messages": [ToolMessage(f"{RESULT} {call['args']['number']}", tool_call_id=call["id"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.add_edge("tools", "model")
    file = folder / "peer.db"
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        app = graph.compile(checkpointer=saver)
        begun = time.perf_counter()
        await app.ainvoke(
            {"messages": [HumanMessage("Add it all up.")]},
            {"configurable": {"thread_id": "run"}, "recursion_limit": 10**6},
            durability="sync",
        )
        took = time.perf_counter() - begun
    return Measured(took / (2 * calls + 1) * 1e3, _size(file) / (2 * calls + 1))


def _size(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size


def _measured(what: Callable[[Path, int], Awaitable[Measured]], steps: int) -> Measured:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        return asyncio.run(_in(what, Path(folder), steps))


async def _in(what: Callable[[Path, int], Awaitable[Measured]], folder: Path, steps: int) -> Measured:
    return await what(folder, steps)


def _disk_wait_ms(turns: int = 50) -> float:
    """The median time of one flushed 4 KiB write here, which every durable commit has to wait for."""
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), prefix=".bench-") as file:
        took = []
        for _ in range(turns):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e3


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object a line")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side at 100 steps (5)")
    options = parser.parse_args()
    sides = {OURS: ours}
    if require_peers(["langgraph.checkpoint.sqlite"], without=options.without_peers):
        sides[PEER] = peer
    report = Report(options)
    sizes: dict[str, dict[int, float]] = {name: {} for name in sides}

    def once(name: str, steps: int, _turn: int) -> float:
        measured = _measured(sides[name], steps)
        sizes[name][steps] = measured.bytes_per_step
        return measured.ms_per_step

    say(f"one wait for this disk: {_disk_wait_ms():.2f} ms")
    peer_name = PEER if PEER in sides else None
    samples = in_turns({name: partial(once, name, SHORT) for name in sides}, options.repeats)
    short = medians(samples)
    report.add(Result("durable step", "ms", short[OURS], bar=STEP_MS, at_most=True))
    report.add(Result(f"{SHORT} steps", "ms", short[OURS], peer_name, short.get(PEER), STEP_RATIO, True, samples))
    long = {name: once(name, LONG, 0) for name in sides}
    report.add(Result(f"{LONG} steps", "ms", long[OURS], peer_name, long.get(PEER), STEP_RATIO, True))
    for steps in (SHORT, LONG):
        theirs = sizes[PEER][steps] if peer_name else None
        report.add(Result(f"size per step, {steps} steps", "bytes", sizes[OURS][steps], peer_name, theirs))
    grown = sizes[OURS][LONG] / sizes[OURS][SHORT]
    report.add(Result(f"size per step, {LONG} against {SHORT}", "times", grown, bar=GROWTH, at_most=True))
    return report.finish()


if __name__ == "__main__":
    main(run)
