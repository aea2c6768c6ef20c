from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _harness  # type: ignore[import-not-found]

    module: ModuleType = _harness
    return module


def test_a_line_of_json(harness: ModuleType) -> None:
    result = harness.Result("decode x", "tok/s", 30.0, "llama.cpp", 20.0, bar=1.0)
    assert json.loads(result.to_json()) == {
        "name": "decode x",
        "ours": 30.0,
        "peer": 20.0,
        "peer_name": "llama.cpp",
        "unit": "tok/s",
        "ratio": 1.5,
        "bar": 1.0,
        "holds": True,
    }


@pytest.mark.parametrize(
    ("ours", "peer", "bar", "at_most", "holds"),
    [
        (9.0, 10.0, 1.0, False, False),
        (10.0, 10.0, 1.0, False, True),
        (9.0, 10.0, 1.0, True, True),
        (11.0, 10.0, 1.0, True, False),
        (11.0, 10.0, None, False, None),
        (11.0, None, 1.0, False, None),
    ],
)
def test_bars_bound_the_ratio(
    harness: ModuleType, ours: float, peer: float | None, bar: float | None, at_most: bool, holds: bool | None
) -> None:
    assert harness.Result("x", "s", ours, "peer", peer, bar, at_most).holds is holds


def test_without_a_peer_the_bar_bounds_our_own_value(harness: ModuleType) -> None:
    assert harness.Result("KL", "nats", 0.01, bar=0.02, at_most=True).holds is True
    assert harness.Result("KL", "nats", 0.03, bar=0.02, at_most=True).holds is False


def test_turns_alternate_and_the_first_round_is_thrown_away(harness: ModuleType) -> None:
    calls: list[tuple[str, int]] = []

    def measure(name: str) -> object:
        def once(turn: int) -> float:
            calls.append((name, turn))
            return float(turn)

        return once

    samples = harness.in_turns({"a": measure("a"), "b": measure("b")}, 3)
    assert calls == [(name, turn) for turn in range(4) for name in "ab"]
    assert samples == {"a": [1, 2, 3], "b": [1, 2, 3]}
    assert harness.medians({"a": [5, 1, 3]}) == {"a": 3}


def test_a_missing_peer_is_an_error_unless_told(harness: ModuleType) -> None:
    assert harness.require_peers(["json"], without=False)
    with pytest.raises(SystemExit, match="no_such_module"):
        harness.require_peers(["json", "no_such_module"], without=False)
    assert not harness.require_peers(["no_such_module"], without=True)


def test_stdout_is_data_and_the_exit_code_tells(harness: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    report = harness.Report(argparse.Namespace(json=True, check=True))
    report.add(harness.Result("x", "s", 1.0, "peer", 2.0, 1.0, samples={"ours": [1.0]}))
    assert report.finish() == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["holds"] for line in out.splitlines()] == [False]
    assert "ours: 1" in err
    lenient = harness.Report(argparse.Namespace(json=False, check=False))
    lenient.add(harness.Result("x", "s", 1.0, "peer", 2.0, 1.0))
    assert lenient.finish() == 0
    assert "MISSED" in capsys.readouterr().out
