"""kill -9, anywhere: after resuming, each side effect happened once, or the run asks. Never twice silently."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from support.crashing import Death, Lives, Told, cast_of

from openhearth.agents.runtime import Runtime
from openhearth.config import load_settings
from openhearth.errors import RunBusyError
from openhearth.events import RunFinished
from openhearth.storage import approvals, events, ledger, messages, runs, threads
from openhearth.storage.store import Store

DEATHS = [
    *(Death(before_effect=number) for number in (1, 2, 3)),
    *(Death(after_effect=number) for number in (1, 2, 3)),
    *(Death(token=number) for number in (1, 3, 8)),
    Death(finish_then_die=True),
]


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path)


def open_store(lives: Lives) -> Store:
    return Store.open(f"sqlite:///{lives.folder}/home/data/hearth.db")


def find_run(lives: Lives) -> str | None:
    """The run, also when its process died before it could name it."""
    with open_store(lives) as store, store.read() as session:
        found = runs.list(session)
        return found[0].id if found else None


def decide(lives: Lives, told: Told) -> None:
    """A person allows what did not happen yet, and looks before deciding about what is in doubt."""
    (question,) = told.questions
    with open_store(lives) as store, store.write() as session:
        row = approvals.get(session, question)
        assert row.in_doubt == (told.status == "in_doubt")
        happened = row.call["arguments"]["number"] in lives.effects
        approvals.decide(session, row.id, approved=not happened)


def bring_to_an_end(lives: Lives, **plot: object) -> Told:
    """Resume until the run is done, deciding what is asked."""
    for _ in range(10):
        told = lives.live(resume=find_run(lives), **plot)
        if told.status not in ("waiting", "in_doubt"):
            return told
        decide(lives, told)
    raise AssertionError("the run does not end")


def check_whole(lives: Lives, calls: int = 3) -> None:
    """The database agrees with itself: ledger, messages, events."""
    with open_store(lives) as store, store.read() as session:
        (run,) = runs.list(session)
        assert (run.status, run.owner) == ("done", None)
        entries = ledger.list(session, run.id)
        assert [row.arguments["number"] for row in entries] == [*range(1, calls + 1)]
        assert ledger.open_intents(session, run.id) == []
        path = messages.path(session, threads.get(session, run.thread_id).head_id)
        assert [m.role for m in path] == ["system", "user", *["assistant", "tool"] * calls, "assistant"]
        kept = [*events.after(session, run.id)]
        assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
        assert [type(event) for event in kept].count(RunFinished) >= 1


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_side_effects_happen_once_or_are_asked_about(lives: Lives, death: Death) -> None:
    assert lives.live(death=death) == Told(), "it was killed"
    if death.finish_then_die:
        assert lives.effects == [1, 2, 3]
        return check_whole(lives)
    first = lives.live(resume=lives.run_id)
    in_tool = bool(death.before_effect or death.after_effect)
    assert first.status == ("in_doubt" if in_tool else "done")
    if in_tool:
        assert len(lives.effects) == (death.before_effect - 1 if death.before_effect else death.after_effect)
        decide(lives, first)
        last = bring_to_an_end(lives)
        assert last.status == "done"
    assert lives.effects == [1, 2, 3]
    return check_whole(lives)


@pytest.mark.parametrize("death", [Death(before_effect=2), Death(after_effect=2)], ids=str)
def test_idempotent_tools_run_again_under_the_same_key(lives: Lives, death: Death) -> None:
    lives.live(death=death, idempotent=True)
    told = lives.live(resume=lives.run_id, idempotent=True)
    assert (told.status, told.output) == ("done", "All done.")
    assert lives.effects == ([1, 2, 2, 3] if death.after_effect else [1, 2, 3])
    assert len(set(lives.keys)) == 3
    check_whole(lives)


def test_a_second_death_in_the_same_call_is_a_second_question(lives: Lives) -> None:
    lives.live(death=Death(before_effect=1))
    first = lives.live(resume=lives.run_id)
    decide(lives, first)
    assert lives.live(resume=lives.run_id, death=Death(before_effect=1)) == Told()
    second = lives.live(resume=lives.run_id)
    assert second.status == "in_doubt"
    assert second.questions != first.questions
    decide(lives, second)
    assert bring_to_an_end(lives).status == "done"
    assert lives.effects == [1, 2, 3]


def test_an_approved_call_that_died_is_in_doubt_and_not_approved_again(lives: Lives) -> None:
    waiting = lives.live(approve="ask", calls=1)
    assert waiting.status == "waiting"
    with open_store(lives) as store, store.write() as session:
        approvals.decide(session, waiting.questions[0], approved=True)
    assert lives.live(resume=lives.run_id, calls=1, death=Death(after_effect=1)) == Told()
    doubt = lives.live(resume=lives.run_id, calls=1)
    assert doubt.status == "in_doubt"
    assert lives.effects == [1]
    decide(lives, doubt)
    assert lives.live(resume=lives.run_id, calls=1).status == "done"
    assert lives.effects == [1]


@pytest.mark.slow
def test_death_before_every_single_commit(lives: Lives) -> None:
    for number in range(1, 100):
        here = Lives(lives.folder / f"commit-{number}")
        here.folder.mkdir()
        if here.live(death=Death(commit=number)).status == "done":
            assert number > 20, "the deaths come from counting real commits"
            return
        if find_run(here) is None:
            assert here.effects == []
            continue
        assert bring_to_an_end(here).status == "done", number
        assert here.effects == [1, 2, 3], number
        check_whole(here)
    raise AssertionError("the run makes more than 100 commits")


@pytest.mark.slow
def test_death_before_every_commit_of_a_resume(lives: Lives) -> None:
    for number in range(1, 100):
        here = Lives(lives.folder / f"commit-{number}")
        here.folder.mkdir()
        here.live(death=Death(token=5))
        if here.live(resume=here.run_id, death=Death(commit=number)).status == "done":
            return
        assert bring_to_an_end(here).status == "done", number
        assert here.effects == [1, 2, 3], number
        check_whole(here)
    raise AssertionError("the run makes more than 100 commits")


@pytest.mark.slow
def test_death_before_every_commit_of_a_run_that_asks(lives: Lives) -> None:
    for number in range(1, 100):
        here = Lives(lives.folder / f"commit-{number}")
        here.folder.mkdir()
        told = here.live(death=Death(commit=number), approve="ask", calls=1)
        if told.status == "waiting":
            assert number > 8
            break
        if find_run(here) is not None:
            assert bring_to_an_end(here, calls=1).status == "done", number
            assert here.effects == [1], number
            check_whole(here, calls=1)


@pytest.mark.slow
def test_twenty_kills_at_random_instants(lives: Lives) -> None:
    dice = random.Random(7)
    for number in range(20):
        here = Lives(lives.folder / f"kill-{number}")
        here.folder.mkdir()
        process = here.start(delay_s=0.05)
        deadline = time.monotonic() + dice.uniform(0.05, 0.9)
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        here.wait(process)
        if not (here.folder / "home" / "data" / "hearth.db").exists() or find_run(here) is None:
            assert here.effects == []
            continue
        with open_store(here) as store, store.read() as session:
            done = runs.list(session)[0].status == "done"
        if not done:
            assert bring_to_an_end(here).status == "done"
        assert here.effects == [1, 2, 3]
        check_whole(here)


async def test_a_run_that_another_process_executes_is_busy(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    process = lives.start(delay_s=30)
    while lives.run_id is None:
        time.sleep(0.02)
    monkeypatch.setenv("HEARTH_HOME", str(lives.folder / "home"))
    tools, model = cast_of(lives.folder)
    async with await Runtime.open(load_settings()) as runtime:
        row = (await runtime.runs())[0]
        with pytest.raises(RunBusyError, match="being executed"):
            await anext(runtime.resume(row.id, tools=tools, model=model))
        with pytest.raises(RunBusyError):
            await runtime.delete_thread(row.thread_id)
        process.kill()
        process.join()
        # Its lease has not run out, but the process is gone, so nobody has to wait.
        stream = runtime.resume(row.id, tools=tools, model=model)
        finished = [event async for event in stream][-1]
        assert isinstance(finished, RunFinished)
        assert finished.status == "done"
