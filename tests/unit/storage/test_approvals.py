from __future__ import annotations

import pytest

from openhearth.errors import StorageError
from openhearth.storage import approvals, runs
from openhearth.storage.store import Store
from openhearth.types import ToolCall

CALL = ToolCall(id="c1", name="shell", arguments={"command": "rm x"})


def test_a_question_is_asked_once_while_it_is_open(store: Store, run_id: str) -> None:
    with store.write() as session:
        first = approvals.request(session, run_id, CALL, "rm x")
        again = approvals.request(session, run_id, CALL, "rm x", in_doubt=True)
        assert again.id == first.id
        assert [row.id for row in approvals.pending(session)] == [first.id]


def test_a_decision_is_kept_and_the_same_one_again_changes_nothing(store: Store, run_id: str) -> None:
    with store.write() as session:
        asked = approvals.request(session, run_id, CALL, "rm x")
        decided = approvals.decide(session, asked.id, True, reason="fine", by="ann", arguments={"command": "rm y"})
    assert (decided.status, decided.reason, decided.by) == ("approved", "fine", "ann")
    assert decided.decided_at is not None
    assert approvals.call(decided) == ToolCall(id="c1", name="shell", arguments={"command": "rm y"})
    with store.write() as session:
        again = approvals.decide(session, asked.id, True, arguments={"command": "rm y"})
    assert (again.reason, again.decided_at) == ("fine", decided.decided_at)


@pytest.mark.parametrize("arguments", [None, {"command": "rm z"}])
def test_a_different_decision_comes_too_late(store: Store, run_id: str, arguments: dict[str, object] | None) -> None:
    with store.write() as session:
        asked = approvals.request(session, run_id, CALL)
        approvals.decide(session, asked.id, True)
        with pytest.raises(StorageError, match="already approved"):
            approvals.decide(session, asked.id, arguments is not None, arguments=arguments)  # type: ignore[arg-type]


def test_without_changed_arguments_the_call_is_the_models_own(store: Store, run_id: str) -> None:
    with store.write() as session:
        asked = approvals.request(session, run_id, CALL)
        assert approvals.call(approvals.decide(session, asked.id, False)) == CALL


def test_the_same_call_can_be_asked_about_again_after_an_answer(store: Store, run_id: str) -> None:
    with store.write() as session:
        first = approvals.request(session, run_id, CALL)
        approvals.decide(session, first.id, True)
        second = approvals.request(session, run_id, CALL, in_doubt=True)
        assert [row.id for row in approvals.of_call(session, run_id, "c1")] == [first.id, second.id]
        assert second.in_doubt


def test_pending_ones_are_listed_by_run(store: Store, run_id: str, thread_id: str) -> None:
    with store.write() as session:
        other = runs.create(session, thread_id, "task", {}).id
        mine, theirs = approvals.request(session, run_id, CALL), approvals.request(session, other, CALL)
        assert [row.id for row in approvals.pending(session)] == [mine.id, theirs.id]
        assert [row.id for row in approvals.pending(session, other)] == [theirs.id]
