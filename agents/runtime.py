"""The runtime: starts, resumes and cancels runs, and streams what happens in them.

    runtime = await Runtime.open(load_settings())
    async for event in runtime.run("Say hello.", AgentSpec.from_settings(settings, tools=())):
        print(event)
    await runtime.aclose()

Errors before a run exists (no such thread, model or tool, no sandbox, a run that is busy) are raised by the iterator.
From then on every stream ends with exactly one RunFinished, and never raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from openhearth.agents.channel import EventChannel
from openhearth.agents.driver import LEASE_S, drive
from openhearth.agents.execution import Execution
from openhearth.agents.graph import build_graph
from openhearth.agents.journal import Journal
from openhearth.agents.lazy_sandbox import LazySandbox
from openhearth.agents.log import start_log, stop_log
from openhearth.agents.records import Records
from openhearth.agents.saver import HearthSaver
from openhearth.agents.spec import AgentSpec
from openhearth.agents.tooling import RunTools, run_tools, with_tools
from openhearth.config import Settings
from openhearth.errors import RunError
from openhearth.events import ApprovalDecided, Event, RunResumed, RunStarted
from openhearth.models.base import Model, ProgressCallback
from openhearth.models.open import open_model
from openhearth.storage import approvals, events, leases, runs, threads
from openhearth.storage.store import Session, Store
from openhearth.storage.tables import ApprovalRow, RunRow
from openhearth.tools.base import Tool
from openhearth.types import FINAL_STATUSES

Take = Callable[[Session, str], tuple[RunRow, int]]
"""Takes the lease of a new or an old run for an owner, and returns the run and the lease's fence."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a run needs of this process, opened."""

    spec: AgentSpec
    tools: RunTools
    model: Model


class Runtime(Records):
    """One per process and database. It belongs to the event loop that opened it."""

    def __init__(
        self, settings: Settings, store: Store, progress: ProgressCallback | None, *, owns_store: bool
    ) -> None:
        self.settings = settings
        self.store = store
        self._owns_store = owns_store
        self._progress = progress
        self._saver = HearthSaver(store)
        self._graph = build_graph(self._saver)
        self._sandbox = LazySandbox(settings.sandbox)
        self._models: dict[str, Model] = {}
        self._opening = asyncio.Lock()
        self._attached: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._log = start_log()

    @classmethod
    async def open(
        cls, settings: Settings, *, store: Store | None = None, progress: ProgressCallback | None = None
    ) -> Runtime:
        """Open the database (or use `store`, which stays the caller's). Raises StorageError."""
        if store is not None:
            return cls(settings, store, progress, owns_store=False)
        opened = await asyncio.to_thread(Store.open, settings.database_url, keep_backups=settings.storage.keep_backups)
        return cls(settings, opened, progress, owns_store=True)

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what still runs, close models and database. Safe to call twice."""
        for run, _ in self._attached.values():
            run.scope.cancel()
        await asyncio.gather(*(driver for _, driver in self._attached.values()), return_exceptions=True)
        while self._models:
            await self._models.popitem()[1].aclose()
        self._saver.close()
        stop_log(self._log)
        if self._owns_store:
            self.store.close()

    # -- runs

    async def run(
        self,
        task: str,
        spec: AgentSpec,
        *,
        thread_id: str | None = None,
        tools: Sequence[Tool] = (),
        model: Model | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Work on `task`, at the end of the thread or in a new one.

        `tools` are tools of the program's own, besides those that the spec names. A `model` that is handed over stays
        the caller's. Closing the iterator cancels the run.
        """
        spec = with_tools(spec, tools)
        ready = await self._ready(spec, tools, model)

        def create(session: Session, owner: str) -> tuple[RunRow, int]:
            thread = threads.get(session, thread_id) if thread_id else threads.create(session, title=_title(task))
            row = runs.create(session, thread.id, task, spec.model_dump(mode="json"), status="running")
            return row, runs.acquire(session, row.id, owner, LEASE_S)

        def started(run: Execution) -> Event:
            return RunStarted(**run.ids, task=task, model=run.model.info, approve=spec.approve)

        async with aclosing(self._follow(ready, create, started)) as stream:
            async for event in stream:
                yield event

    async def resume(
        self, run_id: str, *, tools: Sequence[Tool] = (), model: Model | None = None
    ) -> AsyncGenerator[Event, None]:
        """Go on with a run that waited, was in doubt, or lost its process. `run_id` may be a unique part of the id.

        Raises NotFoundError, RunBusyError while another process executes it, and RunError when it has ended: a new
        run on its thread goes on from there.
        """
        row = await self.run_record(run_id)
        _check_unfinished(row)
        spec = AgentSpec.model_validate(row.agent)
        ready = await self._ready(spec, tools, model)

        def acquire(session: Session, owner: str) -> tuple[RunRow, int]:
            fence = runs.acquire(session, row.id, owner, LEASE_S)
            current = runs.get(session, row.id)
            _check_unfinished(current)
            runs.update(session, row.id, status="running")
            return current, fence

        def resumed(run: Execution) -> Event:
            return RunResumed(**run.ids, model=run.model.info)

        async with aclosing(self._follow(ready, acquire, resumed)) as stream:
            async for event in stream:
                yield event

    def cancel(self, run_id: str) -> None:
        """Stop a run that this process executes, within one token; its stream then ends. Else nothing happens."""
        if run_id in self._attached:
            self._attached[run_id][0].scope.cancel()

    async def decide(
        self,
        approval_id: str,
        *,
        approve: bool,
        reason: str = "",
        arguments: dict[str, JsonValue] | None = None,
        by: str = "",
    ) -> ApprovalRow:
        """Keep a person's decision; `resume` the run then. `arguments` replace the call's own.

        For a call in doubt, approving means to run it again, denying that it must not be repeated. Raises
        NotFoundError, RunError when the run has ended, StorageError when it was decided otherwise before.
        """

        def write(session: Session) -> ApprovalRow:
            question = approvals.get(session, approval_id)
            run = runs.get(session, question.run_id)
            _check_unfinished(run)
            undecided = question.status == "pending"
            row = approvals.decide(session, question.id, approve, reason, by, arguments)
            if undecided:
                decided = ApprovalDecided(
                    run_id=run.id,
                    thread_id=run.thread_id,
                    approval_id=row.id,
                    approved=approve,
                    reason=reason,
                    by=by,
                )
                events.append(session, decided)
            return row

        return await self._write(write)

    # -- models

    async def model(self, reference: str, *, progress: ProgressCallback | None = None) -> Model:
        """The model behind the reference, opened once and kept until `aclose`. Raises ModelUnavailableError."""
        async with self._opening:
            if reference not in self._models:
                self._models[reference] = await open_model(
                    reference, self.settings, progress=progress or self._progress
                )
            return self._models[reference]

    # -- inside

    async def _ready(self, spec: AgentSpec, tools: Sequence[Tool], model: Model | None) -> Ready:
        """Everything that can be missing, before anything is written."""
        chosen = run_tools(spec, tools)
        if chosen.compute:
            await self._sandbox.open()
        return Ready(spec, chosen, model or await self.model(spec.model))

    async def _follow(
        self, ready: Ready, take: Take, first: Callable[[Execution], Event]
    ) -> AsyncGenerator[Event, None]:
        """Take the lease, start the driver, and yield what the run publishes. However this ends, the run ends first."""
        starting = asyncio.create_task(self._start(ready, take, first))
        try:
            run, _ = await asyncio.shield(starting)
            async for event in run.journal.channel:
                yield event
        finally:
            await _until_done(starting)
            if not starting.cancelled() and starting.exception() is None:
                run, driver = starting.result()
                run.scope.cancel()
                await _until_done(driver)

    async def _start(
        self, ready: Ready, take: Take, first: Callable[[Execution], Event]
    ) -> tuple[Execution, asyncio.Task[None]]:
        owner = leases.new_owner()
        row, fence = await self._write(lambda session: take(session, owner))
        run = Execution(
            run_id=row.id,
            thread_id=row.thread_id,
            task=row.task,
            spec=ready.spec,
            model=ready.model,
            tools=ready.tools,
            sandbox=self._sandbox,
            journal=Journal(self.store, self._saver, row.id, row.thread_id, owner, fence, EventChannel()),
        )
        driver = asyncio.create_task(drive(self._graph, self._saver, run, first(run)))
        self._attached[run.run_id] = (run, driver)
        driver.add_done_callback(lambda _: self._attached.pop(run.run_id, None))
        return run, driver


def _title(task: str) -> str:
    return next((line for line in task.splitlines() if line.strip()), "")


def _check_unfinished(row: RunRow) -> None:
    if row.status in FINAL_STATUSES:
        raise RunError(
            f"{row.id} has ended ({row.status}).", hint=f"Start a new run on its thread, {row.thread_id}, to go on."
        )


async def _until_done(task: asyncio.Task[Any]) -> None:
    """Wait for the task, however often the waiting itself is cancelled: a tool must be dead and the end kept."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
