"""One run while this process executes it: what its nodes share, and where it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openhearth.agents.journal import Journal, Write
from openhearth.agents.scope import CancelScope
from openhearth.agents.spec import AgentSpec
from openhearth.agents.state import LoopState, Spent
from openhearth.agents.tooling import RunTools
from openhearth.errors import NotFoundError
from openhearth.models.base import Model
from openhearth.storage import messages
from openhearth.storage.store import Session
from openhearth.tools.base import Sandbox, ToolContext
from openhearth.types import Message, ToolCall, Usage


@dataclass(slots=True)
class Draft:
    """A reply in the making. `usage` is what it has cost, until the run's `spent` includes it."""

    text: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass(slots=True)
class Execution:
    """`head` is the run's last message that is kept.

    `draft` is a reply that is not kept yet; a run that ends early keeps its text. `known` is the path that was read
    last, with its head.
    """

    run_id: str
    thread_id: str
    task: str
    spec: AgentSpec
    model: Model
    tools: RunTools
    sandbox: Sandbox
    journal: Journal
    scope: CancelScope = field(default_factory=CancelScope)
    spent: Spent = field(default_factory=Spent)
    head: str | None = None
    draft: Draft = field(default_factory=Draft)
    known: tuple[str | None, list[Message]] = (None, [])

    @property
    def ids(self) -> dict[str, Any]:
        """What every event carries."""
        return {"run_id": self.run_id, "thread_id": self.thread_id}

    def enter(self, state: LoopState) -> float:
        """Every node begins here. Returns the time, from which the node counts its work."""
        self.journal.flush()
        self.spent = Spent.model_validate(state.get("spent") or {})
        self.head = state.get("head") or self.head
        self.scope.check()
        return time.monotonic()

    def message(self, message: Message, parent_id: str | None, message_id: str) -> Write:
        """A staged write that appends `message` and moves the thread's head along.

        The head moves only while it is this run's: somebody may have gone on from elsewhere while the run waited,
        and then this run goes on as a branch.
        """

        def write(session: Session) -> None:
            messages.add(session, self.thread_id, parent_id, message, self.run_id, message_id=message_id, advance=True)
            self.head = message_id

        return write

    async def path(self, head: str | None) -> list[Message]:
        """The conversation up to `head`. Messages never change, so only those after the last one read are fetched."""

        def read(session: Session) -> list[Message]:
            known_head, known = self.known
            if known_head is None or head is None:
                return messages.path(session, head)
            try:
                return known + messages.path_after(session, known_head, head)
            except NotFoundError:
                return messages.path(session, head)

        path = await self.journal.read(read)
        self.known = head, path
        return path

    def tool_context(self, call: ToolCall) -> ToolContext:
        return ToolContext(
            workspace=Path(self.spec.workspace),
            sandbox=self.sandbox,
            run_id=self.run_id,
            call_id=call.id,
            idempotency_key=f"{self.run_id}/{call.id}",
        )
