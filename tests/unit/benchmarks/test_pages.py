"""The table and the plot are what the recorded lines make of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _record  # type: ignore[import-not-found]

    module: ModuleType = _record
    return module


def result(name: str, ours: float, peer: float | None, unit: str, bar: float | None, holds: bool | None) -> Any:
    ratio = ours / peer if peer else None
    peer_name = "llama.cpp" if peer else None
    return {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name} | {
        "unit": unit,
        "ratio": ratio,
        "bar": bar,
        "holds": holds,
    }


def record(*results: Any) -> dict[str, Any]:
    return {"decode": {"date": "2026-01-02", "machine": {"processor": "A, 2 cores", "torch": "2"}, "results": results}}


def test_a_row_says_what_was_measured(recorder: ModuleType) -> None:
    rows = (result("decode x", 45.0, 30.0, "tok/s", 1.0, True), result("memory x", 3.0, None, "GB", 2.2, False))
    text = recorder.rendered(record(*rows))["benchmarks.md"]
    assert "| decode x | 45 tok/s | 30 (llama.cpp) | 1.5 × | ≥ 1 | holds |" in text
    assert "| memory x | 3 GB |  |  | ≤ 2.2 | **missed** |" in text
    assert "Measured on 2026-01-02: A, 2 cores, torch 2." in text


def test_the_plot_turns_every_ratio_so_that_right_is_better(recorder: ModuleType) -> None:
    rows = (result("speed <x>", 40.0, 20.0, "tok/s", 1.0, True), result("time x", 1.0, 2.0, "s", 1.0, True))
    drawn = recorder.rendered(record(*rows))["benchmarks.svg"]
    image = ElementTree.fromstring(drawn)
    texts = [element.text for element in image.iter() if element.tag.endswith("text")]
    assert texts.count("2 ×") == 2
    assert "speed <x>" in texts
    widths = [element.get("width") for element in image.iter() if element.get("fill") == "#2e8b57"]
    assert len(widths) == 2
    assert len(set(widths)) == 1


def test_nothing_recorded_makes_empty_pages(recorder: ModuleType) -> None:
    pages = recorder.rendered({})
    assert pages["benchmarks.md"].startswith("# Benchmarks")
    ElementTree.fromstring(pages["benchmarks.svg"])


def test_the_committed_pages_are_what_the_committed_lines_make(recorder: ModuleType) -> None:
    lines = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    for name, text in recorder.rendered(lines).items():
        committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert committed == text, "run: python benchmarks/_record.py --render"


def test_the_machine_is_described(recorder: ModuleType) -> None:
    facts = recorder.machine()
    assert facts["memory"].endswith(" GiB")
    assert "cores" in facts["processor"]
    assert facts["torch"]
