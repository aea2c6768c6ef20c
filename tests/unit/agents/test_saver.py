"""The saver: what rides along is committed with the checkpoint or not at all, and only changes are stored."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from sqlmodel import func, select

from openhearth.agents.saver import HearthSaver
from openhearth.errors import RunBusyError, StorageError
from openhearth.storage import leases, runs, threads
from openhearth.storage.store import Session, Store
from openhearth.storage.tables import CheckpointBlobRow, CheckpointRow, CheckpointWriteRow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/hearth.db") as opened:
        yield opened


@pytest.fixture
def saver(store: Store) -> Iterator[HearthSaver]:
    made = HearthSaver(store)
    yield made
    made.close()


def _config(thread_id: str, checkpoint_id: str | None = None) -> RunnableConfig:
    key = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": key | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _put(saver: HearthSaver, thread_id: str, number: int) -> RunnableConfig:
    checkpoint: Any = {
        "v": 4,
        "id": f"{number:08}",
        "ts": "",
        "channel_values": {"n": number},
        "channel_versions": {"n": number},
        "versions_seen": {},
        "updated_channels": None,
    }
    return saver.put(_config(thread_id), checkpoint, {"step": number}, {"n": number})


def _titles(store: Store) -> list[str]:
    with store.read() as session:
        return sorted(row.title for row in threads.list(session))


def _count(store: Store, table: type[Any]) -> int:
    with store.read() as session:
        return session.exec(select(func.count()).select_from(table)).one()


# What rides along


def test_a_staged_write_is_committed_with_the_next_checkpoint_of_its_thread(store: Store, saver: HearthSaver) -> None:
    saver.stage("a", lambda session: _titled(session, "staged"))
    _put(saver, "b", 1)
    assert _titles(store) == []
    _put(saver, "a", 1)
    assert _titles(store) == ["staged"]
    _put(saver, "a", 2)
    assert _titles(store) == ["staged"]


def test_a_staged_write_is_committed_with_the_next_node_writes(store: Store, saver: HearthSaver) -> None:
    config = _put(saver, "a", 1)
    saver.stage("a", lambda session: _titled(session, "first"))
    saver.stage("a", lambda session: _titled(session, "second"))
    saver.put_writes(config, [("n", 2)], "task")
    assert _titles(store) == ["first", "second"]


def test_what_was_discarded_is_never_written(store: Store, saver: HearthSaver) -> None:
    saver.stage("a", lambda session: _titled(session, "staged"))
    saver.discard("a")
    _put(saver, "a", 1)
    assert _titles(store) == []


def test_a_guard_that_refuses_stops_every_write_of_its_thread(store: Store, saver: HearthSaver) -> None:
    with store.write() as session:
        run_id = runs.create(session, threads.create(session).id, "task", {}).id
        owner = leases.new_owner()
        fence = runs.acquire(session, run_id, owner, 0)
    saver.guard(run_id, lambda session: runs.verify(session, run_id, owner, fence))
    config = _put(saver, run_id, 1)
    with store.write() as session:
        runs.acquire(session, run_id, leases.new_owner(), 60)
    with pytest.raises(RunBusyError):
        _put(saver, run_id, 2)
    with pytest.raises(RunBusyError):
        saver.put_writes(config, [("n", 2)], "task")
    assert _count(store, CheckpointRow) == 1
    saver.guard(run_id, None)
    _put(saver, run_id, 2)


def test_whatever_fails_nothing_is_kept_and_nothing_staged_is_forgotten(store: Store, saver: HearthSaver) -> None:
    """A random sequence of puts in which staged writes fail, against a model of what must be there.

    With united writes, only checkpoints commit, and what failed or waited is there after the next one.
    """
    names = iter(range(10**6))

    @settings(max_examples=40, deadline=None)
    @given(
        plan=st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), max_size=3)), min_size=1, max_size=6),
        united=st.booleans(),
    )
    def holds(plan: list[tuple[bool, list[bool]]], united: bool) -> None:
        thread_id = f"t{next(names)}"
        if united:
            saver.unite(thread_id)
        waiting: list[str] = []
        broken = {"now": False}
        for number, (writes_first, stages) in enumerate(plan, start=1):
            as_writes = writes_first and not united
            for fails in stages:
                name = f"{thread_id}-{next(names)}"
                waiting.append(name)
                saver.stage(thread_id, partial(_titled, title=name))
                if fails:
                    broken["now"] = True
                    saver.stage(thread_id, lambda _: _fail_if(broken))
            if writes_first and united:
                _act(saver, thread_id, number, as_writes=True)
            before = (_mine(store, thread_id), _count(store, CheckpointRow), _count(store, CheckpointWriteRow))
            if broken["now"]:
                with pytest.raises(KeyError):
                    _act(saver, thread_id, number, as_writes)
                after = (_mine(store, thread_id), _count(store, CheckpointRow), _count(store, CheckpointWriteRow))
                assert after == before
                broken["now"] = False
            _act(saver, thread_id, number, as_writes)
            assert _mine(store, thread_id) == sorted(before[0] + waiting)
            waiting.clear()

    holds()


def _act(saver: HearthSaver, thread_id: str, number: int, as_writes: bool) -> None:
    if as_writes:
        saver.put_writes(_config(thread_id, "x"), [("n", number)], f"task-{number}")
    else:
        _put(saver, thread_id, number)


def _mine(store: Store, thread_id: str) -> list[str]:
    return [title for title in _titles(store) if title.startswith(f"{thread_id}-")]


def _titled(session: Session, title: str) -> None:
    threads.create(session, title=title)


def _fail_if(broken: dict[str, bool]) -> None:
    if broken["now"]:
        raise KeyError


# United writes


def test_united_writes_wait_for_the_checkpoint_and_need_no_rows_of_their_own(store: Store, saver: HearthSaver) -> None:
    saver.unite("a")
    config = _put(saver, "a", 1)
    saver.stage("a", lambda session: _titled(session, "staged"))
    saver.put_writes(config, [("n", 2)], "task")
    assert (_titles(store), _count(store, CheckpointWriteRow)) == ([], 0)
    _put(saver, "a", 2)
    assert (_titles(store), _count(store, CheckpointWriteRow)) == (["staged"], 0)
    saver.flush("a")
    assert _count(store, CheckpointWriteRow) == 0


@pytest.mark.parametrize("how", ["flush", "error"])
def test_united_writes_that_no_checkpoint_follows_become_rows(store: Store, saver: HearthSaver, how: str) -> None:
    saver.unite("a")
    config = _put(saver, "a", 1)
    saver.stage("a", lambda session: _titled(session, "staged"))
    saver.put_writes(config, [("n", 2)], "task")
    if how == "flush":
        saver.flush("a")
    else:
        saver.put_writes(config, [("__error__", ValueError("no"))], "other")
    found = saver.get_tuple(config)
    assert found is not None
    assert ("task", "n", 2) in (found.pending_writes or [])
    assert _titles(store) == ["staged"]


def test_discarding_forgets_united_writes_and_unites_no_more(store: Store, saver: HearthSaver) -> None:
    saver.unite("a")
    config = _put(saver, "a", 1)
    saver.put_writes(config, [("n", 2)], "task")
    saver.discard("a")
    saver.flush("a")
    assert _count(store, CheckpointWriteRow) == 0
    saver.put_writes(config, [("n", 3)], "task")
    assert _count(store, CheckpointWriteRow) == 1


async def test_a_graph_with_united_writes_ends_and_interrupts_like_any_other(store: Store, saver: HearthSaver) -> None:
    saver.unite("a")
    config: RunnableConfig = {"configurable": {"thread_id": "a"}}
    assert (await _graph(saver, 5).ainvoke({"n": 0, "big": ""}, config, durability="sync"))["n"] == 5
    assert _count(store, CheckpointWriteRow) == 0
    assert [found.metadata["step"] async for found in saver.alist(config)] == [5, 4, 3, 2, 1, 0, -1]


# Storing and finding


class Count(TypedDict):
    n: Annotated[int, operator.add]
    big: str


def _graph(saver: HearthSaver, steps: int) -> Any:
    graph = StateGraph(Count)
    graph.add_node("tick", lambda state: {"n": 1})
    graph.add_edge(START, "tick")
    graph.add_conditional_edges("tick", lambda state: "tick" if state["n"] < steps else END)
    return graph.compile(checkpointer=saver)


def test_a_channel_that_does_not_change_is_stored_once(store: Store, saver: HearthSaver) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "a"}, "recursion_limit": 100}
    _graph(saver, 20).invoke({"n": 0, "big": "x" * 10_000}, config, durability="sync")
    with store.read() as session:
        blobs = session.exec(select(CheckpointBlobRow).where(CheckpointBlobRow.channel == "big")).all()
    assert len(blobs) == 1
    assert _count(store, CheckpointRow) > 20


async def test_a_graph_that_was_interrupted_goes_on_with_another_saver(store: Store, saver: HearthSaver) -> None:
    def build(with_saver: HearthSaver) -> Any:
        graph = StateGraph(Count)
        graph.add_node("ask", lambda state: {"n": interrupt({"id": "apr_1"})})
        graph.add_edge(START, "ask")
        return graph.compile(checkpointer=with_saver)

    config: RunnableConfig = {"configurable": {"thread_id": "a"}}
    stopped = await build(saver).ainvoke({"n": 1}, config, durability="sync")
    assert stopped["__interrupt__"][0].value == {"id": "apr_1"}
    other = HearthSaver(store)
    assert (await build(other).ainvoke(Command(resume=10), config, durability="sync"))["n"] == 11
    other.close()


async def test_parallel_tasks_and_sends_come_back_in_order(saver: HearthSaver) -> None:
    class State(TypedDict):
        found: Annotated[list[int], operator.add]

    graph = StateGraph(State)
    graph.add_node("one", lambda state: {"found": [state["number"]]})
    graph.add_conditional_edges(START, lambda _: [Send("one", {"number": number}) for number in range(12)], ["one"])
    app = graph.compile(checkpointer=saver)
    config: RunnableConfig = {"configurable": {"thread_id": "a"}}
    assert (await app.ainvoke({"found": []}, config, durability="sync"))["found"] == list(range(12))
    assert (await app.aget_state(config)).values["found"] == list(range(12))


async def test_two_forks_of_one_checkpoint_keep_their_own_values(saver: HearthSaver) -> None:
    app = _graph(saver, 3)
    config: RunnableConfig = {"configurable": {"thread_id": "a"}}
    await app.ainvoke({"n": 0, "big": ""}, config, durability="sync")
    middle = [state async for state in app.aget_state_history(config)][1].config
    forks = [await app.aupdate_state(middle, {"big": text}) for text in ("left", "right")]
    assert [(await app.aget_state(fork)).values["big"] for fork in forks] == ["left", "right"]


def test_versions_rise_and_never_repeat(saver: HearthSaver) -> None:
    first = [saver.get_next_version(None, None) for _ in range(100)]
    second = [saver.get_next_version(version, None) for version in first]
    assert len({*first, *second}) == 200
    assert max(first) < min(second) < 2**63


def test_an_unknown_type_in_the_state_is_an_error_and_writes_nothing(store: Store, saver: HearthSaver) -> None:
    with pytest.raises(StorageError, match="cannot be stored"):
        saver.put_writes(_config("a", "x"), [("n", 1), ("odd", object())], "task")
    assert _count(store, CheckpointWriteRow) == 0


def test_damaged_bytes_are_an_error_when_read(store: Store, saver: HearthSaver) -> None:
    _put(saver, "a", 1)
    with store.write() as session:
        session.connection().exec_driver_sql("UPDATE checkpoint_blobs SET data = x'c1'")
    with pytest.raises(StorageError, match="cannot be read"):
        saver.get_tuple(_config("a"))


def test_pruning_drops_the_values_that_nobody_needs_any_more(store: Store, saver: HearthSaver) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "a"}, "recursion_limit": 100}
    app = _graph(saver, 10)
    app.invoke({"n": 0, "big": "x"}, config, durability="sync")
    before = app.get_state(config).values
    saver.prune(["a"])
    assert app.get_state(config).values == before
    assert app.get_state(config).parent_config is None
    assert _count(store, CheckpointRow) == 1
    assert _count(store, CheckpointBlobRow) <= 4
    with pytest.raises(ValueError, match="strategy"):
        saver.prune(["a"], strategy="some")


def test_deleting_a_thread_of_ours_deletes_its_runs_checkpoints(store: Store, saver: HearthSaver) -> None:
    with store.write() as session:
        thread_id = threads.create(session).id
        run_id = runs.create(session, thread_id, "task", {}).id
    saver.put_writes(_put(saver, run_id, 1), [("n", 2)], "task")
    with store.write() as session:
        threads.delete(session, thread_id)
    assert [_count(store, table) for table in (CheckpointRow, CheckpointBlobRow, CheckpointWriteRow)] == [0, 0, 0]


def test_listing_everything_and_by_id(saver: HearthSaver) -> None:
    for thread_id in ("a", "b"):
        for number in (1, 2):
            _put(saver, thread_id, number)
    assert len([*saver.list(None)]) == 4
    assert [found.metadata["step"] for found in saver.list(_config("a", "00000001"))] == [1]
    assert [found.checkpoint["id"] for found in saver.list({"configurable": {"thread_id": "b"}}, limit=1)] == [
        "00000002"
    ]
