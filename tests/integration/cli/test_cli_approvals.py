"""Decisions: at the keyboard, and from another process later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., Any]

WRITES = """
- calls: [{name: write_file, arguments: {path: note.txt, content: "one line\\n"}}]
- text: It is over.
"""


@pytest.fixture
def waiting(hearth: Run, script: Run) -> tuple[str, str]:
    """A run that waits, and the approval it waits for."""
    done = hearth("run", "--json", "--model", script(WRITES), "Write.")
    assert done.returncode == 3
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (asked,) = [event for event in events if event["type"] == "approval_requested"]
    return asked["run_id"], asked["approval_id"]


def test_3_without_a_person_and_the_commands_to_go_on(hearth: Run, script: Run, workspace: Path) -> None:
    done = hearth("run", "--model", script(WRITES), "Write.")
    assert (done.returncode, done.stdout) == (3, "")
    assert "+one line" in done.stderr
    assert not (workspace / "note.txt").exists()
    (command,) = [line.strip() for line in done.stderr.splitlines() if "hearth approve" in line]
    after = hearth(*command.split()[1:])
    assert (after.returncode, after.stdout) == (0, "It is over.\n")
    assert (workspace / "note.txt").read_text() == "one line\n"


def test_denying_tells_the_model_why_and_goes_on(hearth: Run, waiting: tuple[str, str], workspace: Path) -> None:
    run, approval = waiting
    done = hearth("deny", approval, "--reason", "wrong name")
    assert (done.returncode, done.stdout) == (0, "It is over.\n")
    assert not (workspace / "note.txt").exists()
    assert (
        "wrong name"
        in hearth("threads", "show", json.loads(hearth("runs", "show", "--json", run).stdout)["thread_id"]).stdout
    )


def test_a_decision_can_be_kept_for_later(hearth: Run, waiting: tuple[str, str], workspace: Path) -> None:
    run, approval = waiting
    done = hearth("approve", approval, "--no-continue", "--json")
    assert json.loads(done.stdout) == {"approval_id": approval, "run_id": run, "status": "approved"}
    assert not (workspace / "note.txt").exists()
    assert hearth("resume", "-q", run).stdout == "It is over.\n"
    assert (workspace / "note.txt").exists()


def test_resuming_without_a_decision_waits_again(hearth: Run, waiting: tuple[str, str]) -> None:
    run, approval = waiting
    done = hearth("resume", run)
    assert done.returncode == 3
    assert f"hearth approve {approval}" in done.stderr


def test_deciding_twice_differently_is_refused(hearth: Run, waiting: tuple[str, str]) -> None:
    _, approval = waiting
    assert hearth("approve", approval, "--no-continue").returncode == 0
    assert hearth("deny", approval, "--no-continue").returncode == 1


def test_never_runs_nothing(hearth: Run, script: Run, workspace: Path) -> None:
    done = hearth("run", "--model", script(WRITES), "--approve", "never", "Write.")
    assert (done.returncode, done.stdout) == (0, "It is over.\n")
    assert not (workspace / "note.txt").exists()


def test_yes_at_the_keyboard_goes_on(terminal: Run, script: Run, workspace: Path) -> None:
    shown = terminal("run", "--model", script(WRITES), "Write.", typing=[("why not:", "y\r")])
    assert shown.code == 0
    assert "write_file wants to run:" in shown.text
    assert "+one line" in shown.text
    assert shown.text.rstrip().endswith("It is over.")
    assert (workspace / "note.txt").exists()


def test_a_reason_at_the_keyboard_refuses(terminal: Run, script: Run, workspace: Path) -> None:
    shown = terminal(
        "run", "--model", script(WRITES), "Write.", typing=[("why not:", "\r"), ("why not:", "too late\r")]
    )
    assert shown.code == 0
    assert "Reason: too late" in shown.text
    assert not (workspace / "note.txt").exists()


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 3)])
def test_leaving_the_question_open_leaves_the_run_waiting(
    terminal: Run, hearth: Run, script: Run, key: str, code: int
) -> None:
    shown = terminal("run", "--model", script(WRITES), "Write.", typing=[("why not:", key)])
    assert shown.code == code
    assert "hearth approve apr_" in shown.text
    assert json.loads(hearth("runs", "list", "--json").stdout)["status"] == "waiting"


def test_resuming_at_a_terminal_asks(terminal: Run, waiting: tuple[str, str], workspace: Path) -> None:
    shown = terminal("resume", waiting[0], typing=[("why not:", "yes\r")])
    assert shown.code == 0
    assert (workspace / "note.txt").exists()


def test_ctrl_c_at_a_terminal_stops_cleanly(terminal: Run, script: Run) -> None:
    slow = script("- {text: A long story., delay_s: 60}")
    shown = terminal("run", "--model", slow, "Tell.", typing=[("Reading", "\x03")])
    assert shown.code == 130
    assert "Stopping; Ctrl-C again quits at once." in shown.text
    assert "Cancelled." in shown.text
    assert shown.raw.rindex("\x1b[?25h") > shown.raw.rindex("\x1b[?25l")  # the cursor is back


def test_no_color_is_honoured(terminal: Run, script: Run) -> None:
    plain = terminal("run", "--model", script(WRITES), "--approve", "auto", "Write.", NO_COLOR="1")
    coloured = terminal("run", "--model", script(WRITES), "--approve", "auto", "Write.")
    assert "\x1b[36m" not in plain.raw
    assert "\x1b[36m" in coloured.raw
