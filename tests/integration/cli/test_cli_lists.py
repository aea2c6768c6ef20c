"""The commands that look at what is kept, and tidy it up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import tiny_model

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


@pytest.fixture
def run(hearth: Run, script: Run) -> dict[str, Any]:
    """A finished run."""
    model = script("- calls: [{name: list_files, arguments: {}}]\n- text: Nothing there.")
    assert hearth("run", "-q", "--model", model, "Look around.").returncode == 0
    found: dict[str, Any] = json.loads(hearth("runs", "list", "--json").stdout)
    return found


def test_nothing_is_listed_at_first(hearth: Run, workspace: Path) -> None:
    for command in ("threads", "runs"):
        for flag in ((), ("--json",)):
            done = hearth(command, "list", *flag)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_runs_are_listed_filtered_and_shown(hearth: Run, run: dict[str, Any]) -> None:
    fields = hearth("runs", "list").stdout.rstrip("\n").split("\t")
    assert fields[0] == run["id"]
    assert fields[2:] == ["done", run["thread_id"], "Look around."]
    assert hearth("runs", "list", "--status", "failed").stdout == ""
    assert hearth("runs", "list", "--thread", run["thread_id"]).stdout != ""
    shown = hearth("runs", "show", run["id"][:12]).stdout
    assert "status:    done" in shown
    assert "done      list_files" in shown
    whole = json.loads(hearth("runs", "show", "--json", run["id"]).stdout)
    assert (whole["id"], whole["output"], whole["calls"][0]["name"]) == (run["id"], "Nothing there.", "list_files")


def test_threads_are_listed_shown_and_deleted(hearth: Run, run: dict[str, Any]) -> None:
    thread = json.loads(hearth("threads", "list", "--json").stdout)
    assert (thread["id"], thread["title"], thread["runs"]) == (run["thread_id"], "Look around.", 1)
    shown = hearth("threads", "show", thread["id"]).stdout
    assert "## user\nLook around.\n" in shown
    assert "→ list_files()" in shown
    whole = json.loads(hearth("threads", "show", "--json", thread["id"]).stdout)
    assert whole["runs"] == [run["id"]]
    assert whole["messages"][-1]["content"] == "Nothing there."
    refused = hearth("threads", "rm", thread["id"])
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert hearth("threads", "rm", "--yes", thread["id"]).returncode == 0
    assert hearth("threads", "list").stdout == hearth("runs", "list").stdout == ""


@pytest.mark.parametrize(("answer", "left"), [("y\r", 0), ("n\r", 1)])
def test_deleting_asks_at_a_terminal(terminal: Run, hearth: Run, run: dict[str, Any], answer: str, left: int) -> None:
    terminal("threads", "rm", run["thread_id"], typing=[("[y/N]", answer)])
    assert len(hearth("threads", "list").stdout.splitlines()) == left


def test_a_terminal_gets_a_heading(terminal: Run, run: dict[str, Any]) -> None:
    heading, line = terminal("runs", "list").text.splitlines()
    assert heading.split() == ["run", "started", "status", "thread", "task"]
    assert run["id"] in line


@pytest.mark.parametrize(
    "arguments",
    [("threads", "show", "thr_nope"), ("runs", "show", "run_nope"), ("resume", "run_nope"), ("approve", "apr_nope")],
)
def test_1_for_what_does_not_exist(hearth: Run, workspace: Path, arguments: tuple[str, ...]) -> None:
    done = hearth(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Not found: ")


def test_models_are_listed_shown_and_removed(hearth: Run, workspace: Path, hearth_home: Path) -> None:
    names = [json.loads(line)["name"] for line in hearth("models", "list", "--json").stdout.splitlines()]
    assert names == ["smollm2-135m", "qwen2.5-coder-1.5b", "minilm"]
    shown = hearth("models", "show", "smollm2-135m")
    assert "Apache-2.0" in shown.stdout
    assert "not pulled" in shown.stdout
    store = hearth_home / "data" / "models" / "mine-int8"
    store.mkdir(parents=True)
    (store / "manifest.json").write_text(json.dumps({"precision": "int8", "extra": {"reference": "hf:me/mine"}}))
    listed = hearth("models", "list").stdout.splitlines()[-1].split("\t")
    assert (listed[0], listed[-1]) == ("mine-int8", "hf:me/mine")
    assert str(store) in hearth("models", "show", "mine-int8").stdout
    assert hearth("models", "rm", "mine-int8").returncode == 0
    assert not store.exists()
    assert hearth("models", "rm", "mine-int8").returncode == 1


def test_pulling_prints_the_folder_and_tells_progress(hearth: Run, workspace: Path, hearth_home: Path) -> None:
    source = workspace / "source"
    source.mkdir()
    (source / "w.bin").write_bytes(b"weights")
    digest = "9b0b7dd5bed55f5b0c9ef8a8f5b6bd8c1d8d0b0d2a5a5e9ad0c1a7f3b8a3f4c1"
    catalog = hearth_home / "config" / "catalog.toml"
    catalog.parent.mkdir(parents=True)
    entry = f"""
[models.tiny]
title = "Tiny"
licence = "MIT"
kind = "embedding"
parameters = 1
context = 1
precision = "float32"
files = [{{ name = "w.bin", size = 7, sha256 = "{digest}" }}]
sources = [{{ kind = "folder", path = "{source}" }}]
"""
    catalog.write_text(entry)
    wrong = hearth("models", "pull", "tiny")
    assert wrong.returncode == 5
    assert wrong.stderr.startswith("Wrong bytes: ")
    found = wrong.stderr.partition("found ")[2][:64]
    catalog.write_text(entry.replace(digest, found))
    right = hearth("models", "pull", "tiny")
    assert right.returncode == 0
    assert (Path(right.stdout.strip()) / "w.bin").read_bytes() == b"weights"


def test_doctor_finds_everything_in_order_but_the_model(hearth: Run, workspace: Path) -> None:
    done = hearth("doctor", "--json")
    states = {check["name"]: check["state"] for check in map(json.loads, done.stdout.splitlines())}
    assert states.pop("models") == "warning"
    assert states.pop("disk") in ("ok", "warning")
    for name in ("kernels", "memory"):
        assert states.pop(name) in ("ok", "warning")
    assert states == dict.fromkeys(("python", "torch", "device", "sandbox", "database"), "ok")
    assert done.returncode == 0
    assert "hearth models pull" in hearth("doctor").stdout


def test_doctor_checks_a_device(hearth: Run, workspace: Path) -> None:
    done = hearth("doctor", "--device", "cpu", "--json")
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(verdict["ok"] for verdict in verdicts)
    assert any(verdict["name"].startswith("tiny model, int8") for verdict in verdicts)
    assert done.returncode == 0
    assert hearth("doctor", "--device", "abacus").returncode == 2


def test_completion_offers_model_names(hearth: Run, workspace: Path) -> None:
    done = hearth(_HEARTH_COMPLETE="complete_bash", COMP_WORDS="hearth run --model qw", COMP_CWORD="3")
    assert done.stdout.split() == ["qwen2.5-coder-1.5b"]


def test_models_check_gives_a_verdict(hearth: Run, workspace: Path) -> None:
    tiny_model(workspace / "checkpoint")
    done = hearth("models", "check", "./checkpoint", "--precision", "float32", "--tokens", "40", "--json")
    verdict = json.loads(done.stdout)
    assert verdict["holds"]
    assert verdict["prefill"]["agreement"] == verdict["decode"]["agreement"] == 1
    assert done.returncode == 0
    shown = hearth("models", "check", "./checkpoint", "--precision", "float32", "--tokens", "40")
    assert [line.split("\t")[0] for line in shown.stdout.splitlines()[:2]] == ["prefill", "decode"]
    assert "good enough" in shown.stdout
