"""kill -9 at instants spread over a run's whole life, then resume until it ends: no side effect is lost or repeated.

A run that cannot know whether a call happened must say so and wait; the test then looks at the marks that the call
leaves, as a person would, and decides.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from openhearth.agents.context import unanswered
from openhearth.events import RunFinished
from openhearth.storage import approvals, events, ledger, messages, runs, threads
from openhearth.storage.store import Store
from openhearth.storage.tables import RunRow

INSTANTS = 20
STARTUP_KILLS = 2
"""How many of the instants lie before the run exists."""
PROGRAM = Path(__file__).parents[1] / "support" / "counting_agent.py"
SCRIPT = """
- {text: "First.", delay_s: 0.2, calls: [{name: shell, arguments: {command: "echo one >> log.txt; sleep 0.05"}}]}
- {text: "Second.", delay_s: 0.2, calls: [{name: shell, arguments: {command: "echo two >> log.txt; sleep 0.05"}}]}
- {text: "Third.", delay_s: 0.2, calls: [{name: shell, arguments: {command: "echo three >> log.txt; sleep 0.05"}}]}
- {text: "All done."}
"""


@dataclass(frozen=True)
class Life:
    """An undisturbed process: seconds until its run exists, lines it prints, and seconds from one line to the next."""

    startup: float
    lines: int
    gap: float


@dataclass(frozen=True)
class Moment:
    """An instant of a life: after so many lines, and so many seconds more."""

    lines: int
    delay: float


def _moment(index: int, life: Life) -> Moment:
    """The instants are spread evenly over what the process does, however slow the machine is, and random in between."""
    chance = random.Random(index)
    if index < STARTUP_KILLS:
        return Moment(0, life.startup * (index + chance.random()) / STARTUP_KILLS)
    part = (index - STARTUP_KILLS + chance.random()) / (INSTANTS - STARTUP_KILLS)
    return Moment(1 + int(part * (life.lines - 1)), chance.random() * 2 * life.gap)


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _measure(command: list[str]) -> Life:
    begun = time.monotonic()
    process = _start(command)
    assert process.stdout is not None
    times = [time.monotonic() for _ in process.stdout]
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return Life(startup=times[0] - begun, lines=len(times), gap=(times[-1] - times[0]) / len(times))


def _kill(command: list[str], moment: Moment) -> None:
    process = _start(command)
    assert process.stdout is not None
    for _ in range(moment.lines):
        process.stdout.readline()
    time.sleep(moment.delay)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)


def _finish(command: list[str]) -> str:
    process = _start(command)
    output, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 3), errors
    return output


def _only_run(file: Path) -> RunRow | None:
    if not file.exists():
        return None
    with Store.open(f"sqlite:///{file}") as store, store.read() as session:
        found = runs.list(session)
    assert len(found) <= 1
    return found[0] if found else None


def _check_whole(file: Path, run_id: str) -> None:
    """The database is sound, and tells one complete story of the run."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with Store.open(f"sqlite:///{file}") as store, store.read() as session:
        row = runs.get(session, run_id)
        assert (row.status, row.owner) == ("done", None)
        told = [*events.after(session, run_id)]
        path = messages.path(session, threads.get(session, row.thread_id).head_id)
        calls = ledger.list(session, run_id)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert isinstance(told[-1], RunFinished)
    assert told[-1].status == "done"
    assert [message.role for message in path] == ["system", "user", *["assistant", "tool"] * 3, "assistant"]
    assert unanswered(path) == []
    assert len(calls) == 3
    assert all(call.state in ("done", "resolved") for call in calls)


@pytest.fixture(scope="module")
def program_life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("life")
    return _measure([sys.executable, str(PROGRAM), str(folder / "hearth.db"), str(folder / "marks"), "start"])


@pytest.mark.slow
@pytest.mark.parametrize("index", range(INSTANTS))
def test_a_program_that_is_killed_repeats_no_side_effect(tmp_path: Path, program_life: Life, index: int) -> None:
    file, marks = tmp_path / "work" / "hearth.db", tmp_path / "marks"
    program = [sys.executable, str(PROGRAM), str(file), str(marks)]
    _kill([*program, "start"], _moment(index, program_life))
    run = _only_run(file)
    if run is None:
        assert not marks.exists(), "a tool ran for a run that nobody knows"
        return
    if index % 3 == 0 and run.status != "done":
        # The second process dies too, somewhere.
        _kill([*program, "resume", run.id], Moment(index % 5, program_life.gap * (index % 4)))
    command = [*program, "resume", run.id]
    while (current := _only_run(file)) is not None and current.status != "done":
        told = dict(line.split(" ", 1) for line in _finish(command).splitlines())
        assert told["status"] in ("done", "in_doubt")
        if told["status"] == "in_doubt":
            approval, number = told["ask"].split()
            happened = number in _lines(marks)
            command = [*program, "deny" if happened else "approve", approval, run.id]
    found = Counter(_lines(marks))
    assert {mark: times for mark, times in found.items() if " " not in mark} == {"1": 1, "3": 1}
    assert {mark for mark in found if " " in mark} == {f"2 {run.id}/call_1"}, "always under one key"
    _check_whole(file, run.id)


@pytest.fixture(scope="module")
def hearth_life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("hearth-life")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_HOME", str(folder / "home"))
        return _measure(_hearth_run(folder))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(INSTANTS))
def test_hearth_run_that_is_killed_repeats_no_side_effect(
    tmp_path: Path, hearth_home: Path, hearth_life: Life, index: int
) -> None:
    file, log = hearth_home / "data" / "hearth.db", tmp_path / "work" / "log.txt"
    _kill(_hearth_run(tmp_path), _moment(index, hearth_life))
    run = _only_run(file)
    if run is None:
        assert not log.exists(), "a tool ran for a run that nobody knows"
        return
    command = ["resume", run.id]
    while (current := _only_run(file)) is not None and current.status != "done":
        _finish([*_HEARTH, *command, "--json"])
        with Store.open(f"sqlite:///{file}") as store, store.read() as session:
            asked = runs.get(session, run.id).status == "in_doubt"
            open_calls = ledger.open_intents(session, run.id)
            questions = [(row.id, row.call_id) for row in approvals.pending(session)]
        if asked:
            ((approval, call_id),) = questions
            assert [call.call_id for call in open_calls] == [call_id]
            word = str(open_calls[0].arguments["command"]).split()[1]
            command = ["deny" if word in _lines(log) else "approve", approval]
    assert _lines(log) == ["one", "two", "three"]
    _check_whole(file, run.id)


_HEARTH = [sys.executable, "-c", "from openhearth.cli import main; main()"]


def _hearth_run(folder: Path) -> list[str]:
    script, workspace = folder / "script.yaml", folder / "work"
    script.write_text(SCRIPT)
    workspace.mkdir()
    where = ["--model", f"scripted:{script}", "--workspace", str(workspace)]
    return [*_HEARTH, "run", "Write the log.", *where, "--approve", "auto", "--json"]


def _lines(file: Path) -> list[str]:
    return file.read_text().split("\n")[:-1] if file.exists() else []
