"""Every order of resuming, approving, denying and dying: a call runs exactly as often as it was allowed to."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.stage import Stage, WatchedModel, read, turn

from openhearth.agents.runtime import Runtime
from openhearth.config import load_settings
from openhearth.errors import RunError
from openhearth.events import Event
from openhearth.storage import ledger, runs
from openhearth.storage.store import Store
from openhearth.tools.function import tool

T = TypeVar("T")
CALLS = 2


class Decisions(RuleBasedStateMachine):
    """A run whose calls all need approval, and whose process may die in any of them.

    A process that dies is one that loses its lease: from then on it cannot write anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(f"sqlite:///{self.folder.name}/hearth.db")
        self.runtime = self.wait(Runtime.open(load_settings(), store=self.store))
        self.effects: Counter[int] = Counter()
        self.allowed: Counter[int] = Counter()
        self.dying = False
        self.run_id = self.status = ""
        self.question: tuple[str, int] | None = None

        @tool
        def act(number: int) -> str:
            """Act."""
            self.effects[number] += 1
            if self.dying:
                with self.store.write() as session:
                    (row,) = runs.list(session)
                    runs.release(session, row.id, row.owner or "", row.fence)
            return f"acted {number}"

        self.stage = Stage(self.runtime, Path(self.folder.name))
        self.stage.tools = [act]
        calls = [turn("", ("act", {"number": number})) for number in range(CALLS)]
        self.stage.model = WatchedModel([*calls, turn("Done.")])
        self.follow(self.stage.stream("Go.", approve="ask"))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def follow(self, stream: AsyncIterator[Event]) -> None:
        played = self.wait(read(stream))
        self.run_id = played.run_id
        self.status = self.wait(self.runtime.run_record(self.run_id)).status
        pending = self.wait(self.runtime.pending_approvals(self.run_id))
        self.question = (pending[0].id, pending[0].call["arguments"]["number"]) if pending else None

    @precondition(lambda self: self.question is not None)
    @rule(approve=st.booleans())
    def decide(self, approve: bool) -> None:
        assert self.question is not None
        approval_id, number = self.question
        self.wait(self.runtime.decide(approval_id, approve=approve))
        self.allowed[number] += approve
        self.question = None

    @precondition(lambda self: self.status != "done")
    @rule(dying=st.booleans())
    def resume(self, dying: bool) -> None:
        asked, effects = self.question, self.effects.total()
        self.dying = dying
        self.follow(self.runtime.resume(self.run_id, tools=self.stage.tools, model=self.stage.model))
        if asked is not None:
            assert self.question == asked, "nobody decided, so it waits for the same decision"
        if dying and self.effects.total() > effects:
            assert self.status == "running", "the dead do not write"

    @precondition(lambda self: self.status == "done")
    @rule()
    def resume_what_has_ended(self) -> None:
        try:
            self.wait(read(self.runtime.resume(self.run_id, tools=self.stage.tools, model=self.stage.model)))
        except RunError:
            return
        raise AssertionError("a run that has ended was resumed")

    @invariant()
    def nothing_happens_without_permission(self) -> None:
        assert all(self.effects[number] <= self.allowed[number] for number in range(CALLS))

    @invariant()
    def in_the_end_all_that_was_allowed_has_happened(self) -> None:
        if self.status != "done":
            return
        assert self.effects == self.allowed
        with self.store.read() as session:
            assert len(ledger.list(session, self.run_id)) == CALLS
            assert ledger.open_intents(session, self.run_id) == []

    def teardown(self) -> None:
        self.wait(self.runtime.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.store.close()
        self.folder.cleanup()


TestDecisions = pytest.mark.slow(Decisions.TestCase)
TestDecisions.settings = settings(max_examples=15, stateful_step_count=14, deadline=None)
