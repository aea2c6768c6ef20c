"""`hearth run` as a script sees it: streams and exit codes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth.events import EVENT_ADAPTER, RunFinished, RunStarted

pytestmark = pytest.mark.slow

Run = Callable[..., Any]

HELLO = "- text: Hello, world."
WRITES = """
- calls: [{name: write_file, arguments: {path: note.txt, content: "one line\\n"}}]
- text: It is written.
"""
SLOW = "- {text: 'A long story without an end.', delay_s: 60}"


def test_the_answer_alone_is_on_stdout_and_the_code_is_0(hearth: Run, script: Run, kept: Run) -> None:
    done = hearth("run", "--model", script(HELLO), "Greet me.")
    assert (done.returncode, done.stdout) == (0, "Hello, world.\n")
    (run,) = kept()
    assert run.status == "done"
    assert f"run {run.id} · go on with: hearth chat --thread {run.thread_id}" in done.stderr
    assert "\x1b" not in done.stderr


def test_json_is_the_stream_of_events_and_nothing_else(hearth: Run, script: Run) -> None:
    done = hearth("run", "--json", "--model", script(WRITES), "--approve", "auto", "Write.")
    assert done.returncode == 0
    assert done.stderr == ""
    events = [EVENT_ADAPTER.validate_json(line) for line in done.stdout.splitlines()]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert sum(isinstance(event, RunFinished) for event in events) == 1
    again = hearth("runs", "show", "--events", events[0].run_id)
    kinds = [json.loads(line)["type"] for line in again.stdout.splitlines()]
    assert kinds == [event.type for event in events if not event.type.endswith("delta")]


def test_narration_shows_each_call_its_source_and_its_result(hearth: Run, script: Run, workspace: Path) -> None:
    done = hearth("run", "--model", script(WRITES), "--approve", "auto", "Write.")
    assert done.stdout == "It is written.\n"
    assert "● write_file path=note.txt" in done.stderr
    assert "added note.txt" in done.stderr
    assert "2 rounds · 1 tool call" in done.stderr
    assert (workspace / "note.txt").read_text() == "one line\n"


def test_quiet_says_nothing_on_stderr(hearth: Run, script: Run) -> None:
    done = hearth("run", "-q", "--model", script(HELLO), "Greet me.")
    assert (done.stdout, done.stderr) == ("Hello, world.\n", "")


def test_the_task_can_come_from_stdin(hearth: Run, script: Run) -> None:
    model = script("- {match: from the pipe, text: Heard.}\n")
    assert hearth("run", "--model", model, "-", stdin="Words from the pipe.\n").stdout == "Heard.\n"


def test_a_thread_goes_on(hearth: Run, script: Run, kept: Run) -> None:
    first = hearth("run", "--model", script(HELLO), "First.")
    assert first.returncode == 0
    thread = kept()[0].thread_id
    assert hearth("run", "--model", script(HELLO), "--thread", thread, "Second.").returncode == 0
    assert {run.thread_id for run in kept()} == {thread}


def test_limits_reach_the_run(hearth: Run, script: Run, kept: Run) -> None:
    hearth("run", "--model", script(HELLO), "--seed", "7", "--max-steps", "3", "--max-time", "9.5", "Go.")
    agent = kept()[0].agent
    assert agent["sampling"]["seed"] == 7
    assert (agent["limits"]["max_steps"], agent["limits"]["max_time_s"]) == (3, 9.5)


def test_1_when_the_run_fails(hearth: Run, script: Run) -> None:
    done = hearth("run", "--model", script("- {expect: something else, text: x}"), "Go.")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Model error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument"),
        (["frobnicate"], "No such command"),
        (["run", "--approve", "maybe", "x"], "maybe"),
        (["run", "--max-steps", "0", "x"], "max_steps"),
        (["run", " "], "The task is empty."),
        (["run", "--workspace", "nowhere", "--model", "smollm2-135m", "x"], "not a folder"),
        (["run", "--model", "http://host/v1", "x"], "which model"),
        (["chat"], "needs a terminal"),
    ],
)
def test_2_for_usage(hearth: Run, workspace: Path, arguments: list[str], words: str) -> None:
    done = hearth(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_2_for_a_setting_that_does_not_exist(hearth: Run, workspace: Path) -> None:
    done = hearth("run", "x", HEARTH_MODEL__PRECISON="int8")
    assert done.returncode == 2
    assert "HEARTH_MODEL__PRECISION" in done.stderr


def test_2_for_a_task_that_is_not_text(workspace: Path, script: Run, start: Run) -> None:
    process = start("run", "--model", script(HELLO), "-")
    process.stdin.buffer.write(b"\xff\xfe")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "not UTF-8" in err


def test_4_when_the_budget_is_spent(hearth: Run, script: Run) -> None:
    calls = "- {calls: [{name: list_files, arguments: {}}], repeat: true}"
    done = hearth("run", "--model", script(calls), "--max-steps", "1", "Go.")
    assert (done.returncode, done.stdout) == (4, "")
    assert "Budget spent: " in done.stderr


@pytest.mark.parametrize("model", ["no-such-model", "./gone.gguf", "scripted:gone.yaml"])
def test_5_when_there_is_no_model(hearth: Run, workspace: Path, kept: Run, model: str) -> None:
    done = hearth("run", "--model", model, "x")
    assert (done.returncode, done.stdout) == (5, "")
    assert "Model unavailable: " in done.stderr
    assert kept() == []


def test_5_when_the_remote_server_is_not_there(hearth: Run, workspace: Path) -> None:
    done = hearth("run", "--model", "http://127.0.0.1:9/v1#x", "x", HEARTH_REMOTE__RETRIES="0")
    assert (done.returncode, done.stdout) == (5, "")


def test_6_where_there_can_be_no_sandbox(script: Run, kept: Run, inside_a_jail: Run) -> None:
    done = inside_a_jail("run", "--model", script(HELLO), "Greet me.")
    assert (done.returncode, done.stdout) == (6, "")
    assert "Sandbox unavailable: " in done.stderr
    assert kept() == []


def test_130_on_ctrl_c_and_the_run_is_kept_as_cancelled(start: Run, script: Run, kept: Run) -> None:
    process = start("run", "--json", "--model", script(SLOW), "Tell me.")
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["status"] == "cancelled"
    assert err == "Cancelled. What was done so far is kept.\n"
    assert [(run.status, run.id) for run in kept()] == [("cancelled", json.loads(first)["run_id"])]


def test_130_on_sigterm(start: Run, script: Run) -> None:
    process = start("run", "--json", "--model", script(SLOW), "Tell me.")
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 130


def test_a_second_ctrl_c_quits_at_once(start: Run, script: Run) -> None:
    sleeps = """
- calls: [{name: python, arguments: {code: "import time; time.sleep(100)"}}]
"""
    process = start("run", "--json", "--model", script(sleeps), "--approve", "auto", "Sleep.")
    for line in process.stdout:
        if json.loads(line)["type"] == "tool_started":
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_the_run_quietly(start: Run, script: Run, kept: Run) -> None:
    process = start("run", "--json", "--model", script("- {text: a b c d e f g h, delay_s: 4}"), "Tell me.")
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(), err) == (141, "")
    process.stderr.close()
    process.stdin.close()
    assert [run.status for run in kept()] == ["cancelled"]


def test_a_killed_run_is_resumed(hearth: Run, start: Run, script: Run, kept: Run, workspace: Path) -> None:
    slow_end = WRITES.replace("- text: It is written.", "- {text: It is written., delay_s: 3}")
    process = start("run", "--json", "--model", script(slow_end), "--approve", "auto", "Write.")
    for line in process.stdout:
        if json.loads(line)["type"] == "tool_finished":
            break
    process.kill()
    process.communicate()
    (workspace / "note.txt").unlink()
    (run,) = kept()
    assert run.status == "running"
    done = hearth("resume", run.id)
    assert (done.returncode, done.stdout) == (0, "It is written.\n")
    assert not (workspace / "note.txt").exists()
    again = hearth("resume", run.id)
    assert again.returncode == 1
    assert "has ended" in again.stderr


def test_debug_shows_where_an_error_comes_from(hearth: Run, workspace: Path) -> None:
    done = hearth("run", "--model", "no-such-model", "x", "--debug")
    assert done.returncode == 5
    assert "Traceback" in done.stderr
