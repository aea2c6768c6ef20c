"""What the interface needs of the rest of OpenHearth, in one place: the runtime, and the threads that it keeps.

Nothing heavy is imported until `Session.open`, which does it in another thread: the first screen is drawn meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from openhearth.config import Settings
from openhearth.events import ApprovalRequested, Event
from openhearth.types import ApprovalPolicy, ModelInfo, RunStatus

if TYPE_CHECKING:
    from openhearth.agents.runtime import Runtime
    from openhearth.agents.spec import AgentSpec
    from openhearth.models.base import Model, ProgressCallback
    from openhearth.storage.threads import ThreadSummary

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run of a thread. `owned`: some process holds its lease and is executing it now."""

    id: str
    thread_id: str
    task: str
    status: RunStatus
    owned: bool


class Session:
    """One person's chat: a model, a workspace, a policy, and every thread in the database."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: str | None = None,
        workspace: Path | None = None,
        approve: ApprovalPolicy | None = None,
        tools: Sequence[str] | None = None,
    ) -> None:
        """`tools` names built-in tools; None means all of them."""
        self.settings = settings
        self.reference = model or settings.model.default
        self.workspace = (workspace or Path.cwd()).absolute()
        self.approve: ApprovalPolicy = approve or settings.agent.approve
        self._tools = tools
        self._runtime: Runtime | None = None
        self._model: Model | None = None
        self._spec: AgentSpec | None = None

    # -- life

    async def open(self, progress: ProgressCallback | None = None) -> None:
        """Open the database, unless it is open. Raises HearthError."""
        if self._runtime is not None:
            return
        runtime_type, spec_type = await _in_background(_import_runtime)
        self._spec = spec_type.from_settings(
            self.settings,
            model=self.reference,
            workspace=self.workspace,
            approve=self.approve,
            tools=self._tools,
        )
        self._runtime = await runtime_type.open(self.settings, progress=progress)

    async def load_model(self, progress: ProgressCallback | None = None) -> ModelInfo:
        """Fetch the model where that is needed, and load it. Raises HearthError."""
        self._model = await self.runtime.model(self.reference, progress=progress)
        return self._model.info

    async def close(self) -> None:
        if self._runtime is not None:
            runtime, self._runtime = self._runtime, None
            await runtime.aclose()

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("the session is not open")
        return self._runtime

    @property
    def is_open(self) -> bool:
        return self._runtime is not None

    # -- runs

    def run(self, task: str, thread_id: str | None) -> AsyncGenerator[Event, None]:
        """Work on `task`, in a new thread when `thread_id` is None."""
        if self._spec is None:
            raise RuntimeError("the session is not open")
        return self.runtime.run(task, self._spec, thread_id=thread_id)

    def resume(self, run_id: str) -> AsyncGenerator[Event, None]:
        return self.runtime.resume(run_id)

    async def decide(self, approval_id: str, *, approve: bool, reason: str = "") -> None:
        await self.runtime.decide(approval_id, approve=approve, reason=reason, by="tui")

    def cancel(self, run_id: str) -> None:
        self.runtime.cancel(run_id)

    # -- what is kept

    async def threads(self, search: str = "") -> Sequence[ThreadSummary]:
        """The threads whose title contains every word of `search`, the latest activity first."""
        from openhearth.storage import threads

        words = search.casefold().split()
        with self.runtime.store.read() as transaction:
            found = threads.list(transaction)
        return [thread for thread in found if all(word in thread.title.casefold() for word in words)]

    async def title(self, thread_id: str) -> str:
        from openhearth.storage import threads

        with self.runtime.store.read() as transaction:
            return threads.get(transaction, thread_id).title

    async def find_thread(self, id_or_part: str) -> str:
        """The whole id. Raises NotFoundError."""
        from openhearth.storage import threads

        with self.runtime.store.read() as transaction:
            return threads.get(transaction, id_or_part).id

    async def rename(self, thread_id: str, title: str) -> None:
        from openhearth.storage import threads

        with self.runtime.store.write() as transaction:
            threads.rename(transaction, thread_id, title)

    async def delete(self, thread_id: str) -> None:
        from openhearth.storage import threads

        with self.runtime.store.write() as transaction:
            threads.delete(transaction, thread_id)

    async def runs(self, thread_id: str) -> list[RunSummary]:
        """The thread's runs, oldest first."""
        from openhearth.storage import leases, runs

        with self.runtime.store.read() as transaction:
            return [
                RunSummary(
                    id=row.id,
                    thread_id=row.thread_id,
                    task=row.task,
                    status=row.status,  # type: ignore[arg-type]
                    owned=row.owner is not None and not leases.is_gone(row.owner),
                )
                for row in reversed(runs.list(transaction, thread_id=thread_id))
            ]

    async def events(self, run_id: str) -> list[Event]:
        """Everything that was kept of a run, in order."""
        from openhearth.storage import events

        with self.runtime.store.read() as transaction:
            return list(events.after(transaction, run_id))

    async def open_question(self, run_id: str, thread_id: str) -> ApprovalRequested | None:
        """The decision that a run waits for, if it waits for one."""
        from openhearth.storage import approvals

        with self.runtime.store.read() as transaction:
            rows = approvals.pending(transaction, run_id)
            if not rows:
                return None
            row = rows[0]
            return ApprovalRequested(
                run_id=run_id,
                thread_id=thread_id,
                approval_id=row.id,
                call=approvals.call(row),
                preview=row.preview,
                in_doubt=row.in_doubt,
            )


async def _in_background(work: Callable[[], T]) -> T:
    """Do `work` in a thread that nobody waits for when the person leaves meanwhile, unlike `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def report(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        # The loop is closed once the person has left.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(report, result, error)

    threading.Thread(target=run, name="opening", daemon=True).start()
    return await done


def _import_runtime() -> tuple[type[Runtime], type[AgentSpec]]:
    from openhearth.agents.runtime import Runtime
    from openhearth.agents.spec import AgentSpec

    return Runtime, AgentSpec
