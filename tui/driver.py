"""Drives runs for the chat: what is going on, what is queued, and who is asked. It knows no widgets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from enum import StrEnum
from typing import Protocol

from openhearth.errors import HearthError
from openhearth.events import (
    ApprovalDecided,
    ApprovalRequested,
    CallDelta,
    Event,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from openhearth.paths import state_dir
from openhearth.tui.meters import Meters
from openhearth.tui.session import RunSummary, Session
from openhearth.tui.text import clean_line
from openhearth.types import ErrorInfo, RunStatus

_log = logging.getLogger(__name__)
_PATIENCE_S = 3.0


class Phase(StrEnum):
    """What can be done now."""

    OPENING = "opening"
    BROKEN = "broken"
    """The database or the model could not be opened."""
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting for you"
    """The thread's last run waits for a decision."""
    INTERRUPTED = "interrupted"
    """The thread's last run was cut off, or is executed by another process."""


class RunView(Protocol):
    """Whoever draws."""

    async def begin_turn(self, task: str) -> None: ...

    async def show_event(self, event: Event) -> None: ...

    async def show_error(self, error: ErrorInfo) -> None: ...

    async def ask(self, question: ApprovalRequested) -> None: ...

    def give_back(self, texts: list[str]) -> None:
        """Queued texts that will not be sent return to where they were written."""

    def changed(self) -> None:
        """`phase`, `activity`, `queue` or the meters are different now."""


def explain(error: Exception) -> ErrorInfo:
    """An error as a message for the person."""
    if isinstance(error, HearthError):
        return ErrorInfo(code=error.code, title=error.title, message=error.message, hint=error.hint)
    return ErrorInfo(
        code="internal",
        title="Something broke inside OpenHearth",
        message=f"{type(error).__name__}: {error}",
        hint=f"What was done is kept. The details are in the log, in {state_dir()}.",
    )


class Driver:
    """Executes one run at a time. `thread_id` is None until a new thread's first run has started."""

    def __init__(self, session: Session, view: RunView) -> None:
        self.session = session
        self.view = view
        self.meters = Meters()
        self.phase = Phase.OPENING
        self.activity = ""
        self.share: float | None = None
        self.thread_id: str | None = None
        self.run_id = ""
        self.question: ApprovalRequested | None = None
        self.queue: list[str] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is being executed here."""
        return self.phase in {Phase.RUNNING, Phase.STOPPING}

    def become(self, phase: Phase, activity: str = "", share: float | None = None) -> None:
        """Enter `phase`; `activity` says it in words, `share` is how much of it is done."""
        self.phase, self.activity, self.share = phase, activity or phase.value, share
        self.view.changed()

    # -- what the person does

    def submit(self, text: str) -> bool:
        """Start a run on `text`, or queue it. False: it cannot be taken now."""
        if self.busy or self.phase is Phase.OPENING:
            self.queue.append(text)
            self.view.changed()
            return True
        if self.phase is not Phase.READY:
            return False
        self._start(self._begin(text))
        return True

    def stop(self) -> bool:
        """Cancel the running turn; what was written stays. False: there is none."""
        if self.phase is not Phase.RUNNING:
            return False
        self.become(Phase.STOPPING)
        self._return_queue()
        if self.run_id:
            self.session.cancel(self.run_id)
        elif self._task is not None:
            self._task.cancel()
        return True

    def decide(self, *, approve: bool, reason: str = "") -> None:
        """Answer the open question and go on."""
        if self.question is not None and self.phase is Phase.WAITING:
            question, self.question = self.question, None
            self._start(self._answer(question, approve, reason))

    def resume(self) -> None:
        """Go on with an interrupted run."""
        if self.phase is Phase.INTERRUPTED:
            self._start(self._follow(self.session.resume(self.run_id)))

    async def enter(self, thread_id: str | None, last: RunSummary | None) -> None:
        """Another thread is shown; `last` is its newest run. Continue where that stands."""
        self.thread_id, self.run_id, self.question = thread_id, last.id if last else "", None
        self.meters.forget_thread()
        if last is not None and last.status in {"waiting", "in_doubt"}:
            await self._settle_in(last.status)
        elif last is not None and last.status in {"queued", "running"}:
            self.become(Phase.INTERRUPTED, "running elsewhere" if last.owned else "")
        else:
            self.become(Phase.READY)
        self._next()

    async def aclose(self) -> None:
        """End the current run as cancelled, and wait for that."""
        self.queue.clear()
        if self._task is None or self._task.done():
            return
        if self.run_id:
            self.session.cancel(self.run_id)
        _, pending = await asyncio.wait({self._task}, timeout=_PATIENCE_S)
        if pending:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_PATIENCE_S)

    # -- how it goes

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self.become(Phase.RUNNING, "starting")
        self._task = asyncio.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Whatever goes wrong in a run is a message on the screen."""
        try:
            await work
        except asyncio.CancelledError:
            await self._settle_in("cancelled")
        except Exception as error:
            if not isinstance(error, HearthError):
                _log.exception("a run broke")
            await self.view.show_error(explain(error))
            await self._settle_in("failed")

    async def _begin(self, text: str) -> None:
        self.run_id = ""
        await self.view.begin_turn(text)
        await self._follow(self.session.run(text, self.thread_id))

    async def _answer(self, question: ApprovalRequested, approve: bool, reason: str) -> None:
        await self.session.decide(question.approval_id, approve=approve, reason=reason)
        ids = {"run_id": question.run_id, "thread_id": question.thread_id, "approval_id": question.approval_id}
        await self.view.show_event(ApprovalDecided(**ids, approved=approve, reason=reason))
        await self._follow(self.session.resume(question.run_id))

    async def _follow(self, events: AsyncGenerator[Event, None]) -> None:
        status: RunStatus = "failed"
        async with aclosing(events) as stream:
            async for event in stream:
                self._note(event)
                await self.view.show_event(event)
                if isinstance(event, RunFinished):
                    status = event.status
        await self._settle_in(status)

    def _note(self, event: Event) -> None:
        self.meters.apply(event)
        activity = self.activity
        match event:
            case RunStarted() | RunResumed():
                self.thread_id, self.run_id = event.thread_id, event.run_id
            case StepStarted(node="model"):
                activity = "thinking"
            case TextDelta():
                activity = "writing"
            case CallDelta():
                activity = f"calling {clean_line(event.name, 32)}"
            case ToolStarted():
                activity = f"running {clean_line(event.call.name, 32)}"
            case ToolFinished():
                activity = "thinking"
            case ApprovalRequested():
                self.question = event
        if self.phase is Phase.RUNNING:
            self.activity = activity
        self.view.changed()

    async def _settle_in(self, status: RunStatus) -> None:
        """The run rests at `status`."""
        if status in {"waiting", "in_doubt"}:
            question = self.question or await self.session.open_question(self.run_id, self.thread_id or "")
            if question is not None:
                self.question = question
                self.become(Phase.WAITING)
                await self.view.ask(question)
                return
        self.become(Phase.READY)
        if status == "done":
            self._next()
        else:
            self._return_queue()

    def _next(self) -> None:
        if self.queue and self.phase is Phase.READY:
            self._start(self._begin(self.queue.pop(0)))

    def _return_queue(self) -> None:
        """Nothing is sent unasked after a run that did not end well."""
        if self.queue:
            texts, self.queue = self.queue, []
            self.view.give_back(texts)
            self.view.changed()
