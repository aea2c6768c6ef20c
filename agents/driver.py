"""Drives one run through the graph, from the first node to RunFinished, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langsmith.run_helpers import tracing_context

from openhearth.agents.execution import Execution
from openhearth.agents.finish import Ending, error_info, finish
from openhearth.agents.graph import UNBOUNDED
from openhearth.agents.saver import HearthSaver
from openhearth.agents.state import first_state
from openhearth.errors import CancelledError, HearthError, StorageError
from openhearth.events import Event

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from openhearth.agents.state import LoopState

LEASE_S = 30.0
"""How long a silent process keeps a run on another machine; on the same one it is known at once that it is gone."""

_log = logging.getLogger(__name__)


async def drive(
    graph: CompiledStateGraph[LoopState, Execution, Any, Any], saver: HearthSaver, run: Execution, first: Event
) -> None:
    """Publish `first`, then execute what is left. Never raises, except when its own task is cancelled; then it
    ends the run before."""
    heartbeat = asyncio.create_task(_keep_lease(run))
    try:
        ending, stopped = await _work(graph, saver, run, first)
        heartbeat.cancel()
        with suppress(asyncio.CancelledError):
            await heartbeat
        await _keep_rest(saver, run)
        run.journal.flush()
        await finish(run, ending)
        if stopped is not None:
            raise stopped
    finally:
        heartbeat.cancel()
        run.journal.close()


async def _work(
    graph: CompiledStateGraph[LoopState, Execution, Any, Any], saver: HearthSaver, run: Execution, first: Event
) -> tuple[Ending, asyncio.CancelledError | None]:
    """How the work ended, and the cancellation of this task, which has to wait until that is kept."""
    try:
        await run.journal.commit(lambda _: None, first)
        return await _invoke(graph, saver, run), None
    except CancelledError as error:
        return Ending("cancelled", error_info(error)), None
    except asyncio.CancelledError as error:
        return Ending("cancelled", error_info(CancelledError("The program ended."))), error
    except StorageError as error:
        return Ending("failed", error_info(error), final=False), None
    except HearthError as error:
        return Ending("failed", error_info(error)), None
    except Exception as error:
        _log.exception("%s failed", run.run_id)
        return Ending("failed", error_info(error)), None


async def _invoke(
    graph: CompiledStateGraph[LoopState, Execution, Any, Any], saver: HearthSaver, run: Execution
) -> Ending:
    config: RunnableConfig = {"configurable": {"thread_id": run.run_id}, "recursion_limit": UNBOUNDED}
    begun = await saver.aget_tuple(config) is not None
    # LangSmith's variables, set for some other program, must not send this run's data anywhere.
    with tracing_context(enabled=False):
        final = await graph.ainvoke(None if begun else first_state(), config, context=run, durability="sync")
    for waiting in (final or {}).get("__interrupt__", ()):
        return Ending("in_doubt" if waiting.value["in_doubt"] else "waiting")
    return Ending("done")


async def _keep_rest(saver: HearthSaver, run: Execution) -> None:
    """Keep what the last node did when the graph stopped before its checkpoint."""
    try:
        await saver.aflush(run.run_id)
    except HearthError:
        _log.warning("The last step of %s could not be kept.", run.run_id, exc_info=True)


async def _keep_lease(run: Execution) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        try:
            await run.journal.renew(LEASE_S)
        except HearthError:
            # Taken over, or a database that is busy beyond measure: the next write of the run finds out which.
            _log.warning("The lease of %s could not be renewed.", run.run_id, exc_info=True)
