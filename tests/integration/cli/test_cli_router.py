"""A router at the command line: explained, and told while a run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth.events import EVENT_ADAPTER, ModelRouted

pytestmark = pytest.mark.slow

Run = Callable[..., Any]

ROUTER = """\
routes:
  - {name: easy, model: "scripted:easy.yaml"}
  - {name: hard, model: "scripted:hard.yaml"}
default: hard
rules:
  - {name: polite, when: {words: [please]}, route: easy}
  - {name: tools, when: {tools: true}, route: hard}
"""


@pytest.fixture
def router(script: Run, tmp_path: Path) -> str:
    script("- text: Easily done.", "easy.yaml")
    script("- text: Hard work.", "hard.yaml")
    (tmp_path / "router.yaml").write_text(ROUTER, encoding="utf-8")
    return f"router:{tmp_path / 'router.yaml'}"


def test_a_decision_is_explained_without_asking_a_model(hearth: Run, router: str) -> None:
    done = hearth("models", "route", router, "One word, please.")
    assert done.returncode == 0
    assert "easy" in done.stdout
    assert "polite: the message has the word 'please'" in done.stdout
    as_json = hearth("models", "route", router, "A word.", "--tools", "--json")
    assert json.loads(as_json.stdout) == {
        "route": "hard",
        "model": router.replace("router:", "scripted:").replace("router.yaml", "hard.yaml"),
        "reason": "tools: tools are on offer",
        "rule": "tools",
        "scores": {},
        "passed_over": [],
    }


def test_what_is_no_router_is_refused(hearth: Run, script: Run) -> None:
    done = hearth("models", "route", script("- text: x"), "Hello")
    assert done.returncode == 2
    assert "it routes nothing" in done.stderr


def test_the_choice_is_narrated_and_is_an_event(hearth: Run, router: str) -> None:
    done = hearth("run", "--model", router, "Greet me, please.")
    assert (done.returncode, done.stdout) == (0, "Easily done.\n")
    assert "→ easy (scripted:easy.yaml): polite: the message has the word 'please'" in done.stderr
    lines = hearth("run", "--json", "--model", router, "Greet me, please.").stdout.splitlines()
    (routed,) = [event for line in lines if isinstance(event := EVENT_ADAPTER.validate_json(line), ModelRouted)]
    assert routed.routing.route == "easy"
    assert routed.seq > 0


def test_a_mistake_in_the_file_is_told_with_its_line(hearth: Run, router: str, tmp_path: Path) -> None:
    (tmp_path / "router.yaml").write_text(ROUTER.replace("default: hard", "default: hart"), encoding="utf-8")
    done = hearth("run", "--model", router, "Hello")
    assert done.returncode == 2
    assert "line 4: default: there is no route 'hart'. Did you mean 'hard'?" in done.stderr
