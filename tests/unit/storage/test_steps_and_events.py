from __future__ import annotations

import pytest

from openhearth.errors import NotFoundError, StorageError
from openhearth.events import Event, ModelFinished, Notice, RunFinished, TextDelta, ToolStarted
from openhearth.storage import events, steps
from openhearth.storage.store import Store
from openhearth.types import Message, Timings, ToolCall, Usage


def test_a_step_that_is_repeated_counts_its_attempts(store: Store, run_id: str) -> None:
    with store.write() as session:
        assert steps.start(session, run_id, 1, "model") == 1
        steps.finish(session, run_id, 1, usage=Usage(completion_tokens=3))
        assert steps.start(session, run_id, 2, "act") == 1
        assert steps.start(session, run_id, 2, "act") == 2
    with store.read() as session:
        first, second = steps.list(session, run_id)
    assert (first.node, first.attempts, first.usage) == ("model", 1, Usage(completion_tokens=3).model_dump())
    assert first.finished_at is not None
    assert (second.attempts, second.finished_at) == (2, None)


def test_a_step_that_never_started_cannot_finish(store: Store, run_id: str) -> None:
    with pytest.raises(NotFoundError), store.write() as session:
        steps.finish(session, run_id, 1)


def test_events_come_back_equal_and_in_order(store: Store, run_id: str, thread_id: str) -> None:
    base = {"run_id": run_id, "thread_id": thread_id}
    told: list[Event] = [
        Notice(**base, text="ü"),
        ToolStarted(**base, call=ToolCall(id="c", name="add", arguments={"a": 1})),
        ModelFinished(
            **base,
            message=Message(role="assistant", content="hi"),
            usage=Usage(),
            timings=Timings(),
            context_used=1,
            context_length=2,
        ),
        RunFinished(**base, status="done"),
    ]
    with store.write() as session:
        kept = [events.append(session, event) for event in told]
    assert [event.seq for event in kept] == [1, 2, 3, 4]
    with store.read() as session:
        assert [*events.after(session, run_id)] == kept
        assert [*events.after(session, run_id, 2)] == kept[2:]
        assert events.last_seq(session, run_id) == 4
        assert events.last_seq(session, "run_none") == 0


def test_a_given_seq_is_kept_and_never_overwritten(store: Store, run_id: str, thread_id: str) -> None:
    event = Notice(run_id=run_id, thread_id=thread_id, seq=7, text="first")
    with store.write() as session:
        assert events.append(session, event) is event
    with pytest.raises(StorageError, match="UNIQUE"), store.write() as session:
        events.append(session, event.model_copy(update={"text": "second"}))
    with store.read() as session:
        assert [*events.after(session, run_id)] == [event]


def test_deltas_are_not_kept(store: Store, run_id: str, thread_id: str) -> None:
    with pytest.raises(StorageError, match="not kept"), store.write() as session:
        events.append(session, TextDelta(run_id=run_id, thread_id=thread_id, text="x"))
