"""The model benchmarks run from start to end, on the small model and for one short round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openhearth.paths import HOME_VARIABLE

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KEYS = {"name", "ours", "peer", "peer_name", "unit", "ratio", "bar", "holds"}


def lines(script: str, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(BENCHMARKS / script), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def small(gguf: Path, store: Path) -> tuple[str, ...]:
    return ("--gguf", str(gguf), "--store", str(store), "--without-peers", "--repeats", "1")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_decode(smollm2_gguf: Path) -> None:
    results = lines("decode.py", "--gguf", str(smollm2_gguf), "--without-peers", "--repeats", "1", "--tokens", "4")
    assert [result["name"].split()[0] for result in results] == ["decode", "prefill"]
    for result in results:
        assert result.keys() == KEYS
        assert result["ours"] > 0
        assert result["holds"] is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quality(smollm2_gguf: Path) -> None:
    results = lines("quality.py", "--gguf", str(smollm2_gguf), "--tokens", "24", "--threads", "1")
    assert len(results) == 6
    divergence, _, agreement, *_ = (result["ours"] for result in results)
    assert 0 < divergence < 0.5
    assert 0.5 < agreement <= 1


def test_embeddings(monkeypatch: pytest.MonkeyPatch, minilm_store: Path) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(minilm_store.parents[2]))
    (result,) = lines("embeddings.py", "--texts", "40", "--repeats", "1", "--threads", "1")
    assert result["name"] == "embed minilm"
    assert result["ours"] > 0
    assert result["peer_name"] == "transformers"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "names"),
    [
        ("concurrent_runs.py", ("--runs", "2", "--tokens", "3"), ["2 runs at once"]),
        ("second_turn.py", ("--history", "200"), ["second turn"]),
        ("agent_work.py", ("--steps", "1"), ["decode, agent work", "agent work"]),
        (
            "startup.py",
            ("--context", "256"),
            ["start to first token", "memory, 256 tokens,", "memory, a second process,"],
        ),
    ],
)
def test_ours_alone(
    smollm2_gguf: Path, smollm2_store: Path, script: str, options: tuple[str, ...], names: list[str]
) -> None:
    results = lines(script, *small(smollm2_gguf, smollm2_store), *options)
    assert [result["name"].removesuffix(f" {smollm2_gguf.stem}") for result in results] == names
    assert all(result["ours"] > 0 for result in results)


@pytest.mark.slow
def test_router(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minilm_store: Path, smollm2_store: Path) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(minilm_store.parents[2]))
    routes = [
        {"name": "small", "model": "smollm2-135m", "examples": ["Say hello.", "Thank you!"]},
        {"name": "large", "model": "smollm2-135m", "examples": ["Write code.", "Compute it."]},
    ]
    router = tmp_path / "router.yaml"
    router.write_text(json.dumps({"routes": routes, "default": "large"}), encoding="utf-8")
    few = ("--limit", "2", "--tokens", "2")
    results = {each["name"]: each for each in lines("router.py", "--router", str(router), *few)}
    assert results["sent where it belongs"]["ours"] in (0, 0.25, 0.5, 0.75, 1)
    assert results["seconds for all prompts"]["peer_name"] == "always large"
    assert len(results) == 8
