"""The message tree, against a model of it, and what deleting a thread takes along."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import select

from openhearth.errors import NotFoundError
from openhearth.events import Notice
from openhearth.storage import approvals, checkpoints, events, ledger, messages, runs, steps, threads
from openhearth.storage.store import Store
from openhearth.storage.tables import Table, ThreadRow
from openhearth.types import Message, ToolAnnotations, ToolCall


def _says(text: str) -> Message:
    return Message(role="user", content=text)


def test_every_path_is_the_chain_of_parents_however_the_tree_forks(store: Store) -> None:
    @settings(max_examples=20, deadline=None)
    @given(parents=st.lists(st.one_of(st.none(), st.integers(min_value=0)), max_size=25))
    def holds(parents: list[int | None]) -> None:
        ids: list[str] = []
        expected: dict[str, list[Message]] = {}
        with store.write(durable=False) as session:
            thread_id = threads.create(session).id
            for number, choice in enumerate(parents):
                parent = None if choice is None or not ids else ids[choice % len(ids)]
                message = _says(str(number))
                message_id = messages.add(session, thread_id, parent, message)
                ids.append(message_id)
                expected[message_id] = [*(expected[parent] if parent else []), message]
        with store.read() as session:
            for message_id in ids:
                assert messages.path(session, message_id) == expected[message_id]
                path = [row.id for row in messages.path_rows(session, message_id)]
                assert path[-1] == message_id
                for known, ancestor in enumerate(path, start=1):
                    assert messages.path_after(session, ancestor, message_id) == expected[message_id][known:]
                for stranger in [id_ for id_ in ids if id_ not in path][:1]:
                    with pytest.raises(NotFoundError):
                        messages.path_after(session, stranger, message_id)
            assert {row.id for row in messages.tree(session, thread_id)} == set(ids)

    holds()


def test_messages_come_back_as_they_were(store: Store, thread_id: str) -> None:
    message = Message(
        role="assistant", content="ü\n", tool_calls=(ToolCall(id="c1", name="add", arguments={"a": [1, None, 2**70]}),)
    )
    with store.write() as session:
        message_id = messages.add(session, thread_id, None, message)
    with store.read() as session:
        assert messages.path(session, message_id) == [message]
        assert messages.message(session, message_id) == message


def test_a_long_thread_can_be_read_and_deleted(store: Store, thread_id: str) -> None:
    head = None
    with store.write() as session:
        for number in range(3_000):
            head = messages.add(session, thread_id, head, _says(str(number)))
    with store.read() as session:
        assert len(messages.path(session, head)) == 3_000
    with store.write() as session:
        threads.delete(session, thread_id)
    with store.read() as session:
        assert messages.tree(session, thread_id) == []


def test_no_head_is_the_empty_conversation(store: Store) -> None:
    with store.read() as session:
        assert messages.path(session, None) == []


def test_a_message_that_does_not_exist_is_not_found(store: Store) -> None:
    with store.read() as session:
        with pytest.raises(NotFoundError):
            messages.path(session, "msg_none")
        with pytest.raises(NotFoundError):
            messages.message(session, "msg_none")


def test_a_message_of_another_thread_cannot_be_used(store: Store, thread_id: str) -> None:
    with store.write() as session:
        other = messages.add(session, threads.create(session).id, None, _says("hello"))
        with pytest.raises(NotFoundError, match="has no message"):
            messages.add(session, thread_id, other, _says("hi"))
        with pytest.raises(NotFoundError, match="has no message"):
            threads.set_head(session, thread_id, other)


def test_the_head_moves_only_when_told(store: Store, thread_id: str) -> None:
    with store.write() as session:
        first = messages.add(session, thread_id, None, _says("one"))
        assert threads.get(session, thread_id).head_id is None
        threads.set_head(session, thread_id, first)
    with store.read() as session:
        assert threads.get(session, thread_id).head_id == first


def test_the_list_shows_the_latest_activity_first(store: Store) -> None:
    with store.write() as session:
        older = threads.create(session, title="older").id
        newer = threads.create(session, title="newer").id
        runs.create(session, older, "task", {}, status="done")
        runs.create(session, older, "task", {}, status="waiting")
    with store.write() as session:
        messages.add(session, older, None, _says("again"))
    with store.read() as session:
        first, second = threads.list(session)
        assert (first.id, first.title, first.messages) == (older, "older", 1)
        assert (first.runs, first.last_status) == (2, "waiting")
        assert (second.id, second.messages, second.runs, second.last_status) == (newer, 0, 0, None)
        assert first.updated_at > second.updated_at
        assert [row.id for row in threads.list(session, limit=1, offset=1)] == [newer]


def test_titles_are_one_short_line(store: Store) -> None:
    with store.write() as session:
        row = threads.create(session, title="  a\n b " + "x" * 200)
        assert row.title.startswith("a b x")
        assert len(row.title) == 80
        threads.rename(session, row.id, "better")
    with store.read() as session:
        assert threads.get(session, row.id).title == "better"


def test_a_thread_that_does_not_exist_is_not_found(store: Store) -> None:
    with store.write() as session:
        with pytest.raises(NotFoundError):
            threads.rename(session, "thr_none", "x")
        with pytest.raises(NotFoundError):
            threads.delete(session, "thr_none")
        with pytest.raises(NotFoundError):
            threads.set_head(session, "thr_none", None)


def test_deleting_a_thread_takes_everything_of_it_and_nothing_else(store: Store) -> None:
    with store.write() as session:
        kept, doomed = (_fill(session) for _ in range(2))
    with store.write() as session:
        threads.delete(session, doomed)
    with store.read() as session:
        for table in Table.__subclasses__():
            rows = session.exec(select(table)).all()
            assert len(rows) == 1, table
        assert session.exec(select(ThreadRow.id)).all() == [kept]


def _fill(session) -> str:  # type: ignore[no-untyped-def]  # any Session
    thread_id = threads.create(session).id
    run_id = runs.create(session, thread_id, "task", {}).id
    call = ToolCall(id="c1", name="add")
    messages.add(session, thread_id, None, _says("x"), run_id)
    events.append(session, Notice(run_id=run_id, thread_id=thread_id, text="x"))
    steps.start(session, run_id, 1, "model")
    ledger.intend(session, run_id, call, 1, "key", ToolAnnotations())
    approvals.request(session, run_id, call)
    key = {"thread_id": run_id, "namespace": ""}
    checkpoints.put(
        session,
        {**key, "id": "1", "parent_id": None, "run_id": run_id, "kind": "k", "body": b"", "details": {}},
        [{**key, "channel": "c", "version": 1, "kind": "k", "data": b""}],
    )
    write = {"checkpoint_id": "1", "task_id": "t", "idx": 0, "task_path": "", "channel": "c", "kind": "k", "data": b""}
    checkpoints.put_writes(session, [key | write], replace=False)
    return str(thread_id)
