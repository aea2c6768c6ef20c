"""Everything that runs on an accelerator, on a second torch device that is registered in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    command = [sys.executable, "-m", "support.on_second_device"]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_is_found_and_described(facts: dict[str, Any]) -> None:
    assert facts["auto"] == facts["kind"] == "slate"
    assert facts["half"] == "torch.bfloat16"
    assert facts["memory_is_told"]


def test_an_engine_in_float32_computes_the_same(facts: dict[str, Any]) -> None:
    assert facts["float32"]["farthest"] < 1e-5
    assert facts["float32"]["same_tokens"]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_other_precisions_come_near(facts: dict[str, Any], precision: str) -> None:
    assert facts[precision]["farthest"] < 0.05


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_second_turn_finds_the_first_in_the_cache(facts: dict[str, Any], precision: str) -> None:
    here, there = facts[precision]["cached"]
    assert here == there > 40


def test_embeddings_are_the_same(facts: dict[str, Any]) -> None:
    assert facts["embedding"] < 1e-6


def test_the_conformance_suite_passes(facts: dict[str, Any]) -> None:
    assert facts["conformance"]["nothing"] == []


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("aten.linear", "linear, float32, 5 rows"),
        ("aten.scaled_dot_product_attention", "attention, a whole text"),
        ("aten.mul", "RMSNorm, 5 rows"),
        ("aten.index_select", "attention, 20 rows, scattered blocks"),
        ("aten.glu", "tiny model, float32, a text at once"),
    ],
)
def test_a_kernel_that_miscomputes_is_named(facts: dict[str, Any], broken: str, named: str) -> None:
    assert named in facts["conformance"][broken]


def test_the_doctor_says_so(facts: dict[str, Any]) -> None:
    well, ill = facts["doctor"]
    assert (well["code"], well["wrong"]) == (0, [])
    assert well["checks"] == ill["checks"] > 30
    assert ill["code"] == 1
    assert "linear, bfloat16, one row" in ill["wrong"]
