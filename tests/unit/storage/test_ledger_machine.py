"""The ledger as a state machine: whatever happens in whatever order, an outcome that was written stays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openhearth.errors import NotFoundError, StorageError
from openhearth.storage import ledger, runs, threads
from openhearth.storage.store import Session, Store
from openhearth.types import ToolAnnotations, ToolCall, ToolOutput

CALLS = st.sampled_from(["a", "b", "c"])
OUTPUTS = st.builds(ToolOutput, content=st.text(max_size=5), ok=st.booleans())


class Ledger(RuleBasedStateMachine):
    """`model` holds, per call, its attempts and its outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.store = Store.open(f"sqlite:///{self.folder}/hearth.db")
        with self.store.write(durable=False) as session:
            self.run_id = runs.create(session, threads.create(session).id, "task", {}).id
        self.model: dict[str, tuple[int, tuple[str, ToolOutput] | None]] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(call_id=CALLS)
    def intend(self, call_id: str) -> None:
        attempts, outcome = self.model.get(call_id, (0, None))
        call = ToolCall(id=call_id, name="add", arguments={"n": 1})

        def write(session: Session) -> None:
            assert ledger.intend(session, self.run_id, call, 1, f"key-{call_id}", ToolAnnotations()) == attempts + 1

        self._expect(write, fails=outcome is not None)
        if outcome is None:
            self.model[call_id] = (attempts + 1, None)

    @rule(call_id=CALLS, output=OUTPUTS)
    def settle(self, call_id: str, output: ToolOutput) -> None:
        self._finish(
            call_id,
            "done" if output.ok else "failed",
            output,
            lambda session: ledger.settle(session, self.run_id, call_id, output, 0.1),
        )

    @rule(call_id=CALLS, output=OUTPUTS)
    def resolve(self, call_id: str, output: ToolOutput) -> None:
        self._finish(
            call_id,
            "resolved",
            output,
            lambda session: ledger.resolve(session, self.run_id, call_id, output, note="ann: it happened"),
        )

    @rule(call_id=CALLS, output=OUTPUTS)
    def crash_after_settling(self, call_id: str, output: ToolOutput) -> None:
        if self.model.get(call_id, (0, None))[0] and self.model[call_id][1] is None:
            with suppress(KeyError), self.store.write(durable=False) as session:
                ledger.settle(session, self.run_id, call_id, output, 0.1)
                raise KeyError

    @invariant()
    def what_is_stored_is_the_model(self) -> None:
        with self.store.read() as session:
            rows = {row.call_id: row for row in ledger.list(session, self.run_id)}
            opened = {row.call_id for row in ledger.open_intents(session, self.run_id)}
        assert rows.keys() == self.model.keys()
        for call_id, (attempts, outcome) in self.model.items():
            row = rows[call_id]
            assert (row.attempts, row.idempotency_key) == (attempts, f"key-{call_id}")
            assert (row.state, ledger.output(row)) == (outcome or ("intended", None))
        assert opened == {call_id for call_id, (_, outcome) in self.model.items() if outcome is None}

    def _finish(self, call_id: str, state: str, output: ToolOutput, write: Callable[[Session], None]) -> None:
        attempts, outcome = self.model.get(call_id, (0, None))
        self._expect(write, fails=attempts == 0 or outcome is not None)
        if attempts and outcome is None:
            self.model[call_id] = (attempts, (state, output))

    def _expect(self, write: Callable[[Session], None], *, fails: bool) -> None:
        if not fails:
            with self.store.write(durable=False) as session:
                write(session)
            return
        with pytest.raises((StorageError, NotFoundError)), self.store.write(durable=False) as session:
            write(session)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_the_database_itself_refuses_an_outcome_without_a_state(store: Store, run_id: str) -> None:
    with store.write() as session:
        ledger.intend(session, run_id, ToolCall(id="a", name="add"), 1, "key", ToolAnnotations())
    with pytest.raises(StorageError, match="ck_ledger_outcome"), store.write() as session:
        session.connection().exec_driver_sql("UPDATE ledger SET state = 'done'")


def test_a_call_that_was_never_intended_is_unknown(store: Store, run_id: str) -> None:
    with store.read() as session:
        assert ledger.get(session, run_id, "a") is None
