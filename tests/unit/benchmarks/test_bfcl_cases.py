"""The leaderboard's dialect becomes JSON Schema, and its cases are split by number."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def bfcl(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _bfcl

    yield _bfcl
    sys.modules.pop("_bfcl", None)


def test_types_are_translated_wherever_they_stand(bfcl: Any) -> None:
    function = {
        "name": "area.of",
        "description": "d",
        "parameters": {
            "type": "dict",
            "properties": {
                "sides": {"type": "tuple", "items": {"type": "float"}},
                "what": {"type": "any", "optional": True},
                "type": {"type": "string"},
            },
        },
    }
    tool = bfcl._tool(function)
    assert tool.name == "area_of"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "sides": {"type": "array", "items": {"type": "number"}},
            "what": {},
            "type": {"type": "string"},
        },
    }


@pytest.mark.parametrize(("id_", "even"), [("simple_0", True), ("simple_13", False), ("live_simple_1-1-0", True)])
def test_cases_are_even_or_odd_by_their_last_number(bfcl: Any, id_: str, even: bool) -> None:
    assert bfcl.Case(id_, "simple", (), (), (), None).is_even is even


def test_reading_strictly_takes_nothing_but_marked_json(bfcl: Any) -> None:
    from openhearth.models.chat.formats import get_format

    hermes, granite = get_format("hermes"), get_format("granite")
    call = '{"name": "f", "arguments": {"a": 1}}'
    assert bfcl.read_strictly(f"<tool_call>\n{call}\n</tool_call>", hermes) == [("f", {"a": 1})]
    assert bfcl.read_strictly(f"```json\n{call}\n```", hermes) == []
    assert bfcl.read_strictly("<tool_call>\n{'name': 1}\n</tool_call>", hermes) == []
    assert bfcl.read_strictly(f"<|tool_call|>[{call}, {call}]", granite) == [("f", {"a": 1})] * 2
