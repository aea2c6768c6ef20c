"""Which figures of an answer stand somewhere in the conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhearth.agents.grounding import ungrounded
from openhearth.types import Message

TASK = Message(role="user", content="Who spent most in March 2025?")


def result(content: str) -> Message:
    return Message(role="tool", content=content, tool_call_id="call_1", name="sql")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("7358.299999999998", "It was 7,358.30."),
        ("7358.299999999998", "It was about 7358."),
        ("7358.3", "Harbour Deli spent €7,358.30 in March 2025."),
        ("1234567.891", "In all 1 234 567.89."),
        ("0.13540805636", "Italy has 13.54% of it."),
        ("104", "104 units"),
        ("2025-05-17 | 12", "On 17 May 2025 there were 12."),
        ("12", "The 3 largest have 12."),
        ("12", "1. the first has 12\n2. the second has 12"),
        ("done", "Written to order A10001."),
        ("12", "It was 12.\n```python\nprint(99)\n```"),
    ],
)
def test_a_figure_from_a_result_is_grounded(content: str, answer: str) -> None:
    assert ungrounded(answer, [TASK, result(content)]) == []


@pytest.mark.parametrize(
    ("content", "answer", "missing"),
    [
        ("7358.30", "It was 7,385.30.", ["7,385.30"]),
        ("74443.81", "About 74,444.31, or 74444.", ["74,444.31"]),
        ("104", "104 of 250 units", ["250"]),
        ("none", "12, 12 and 13", ["12", "13"]),
    ],
)
def test_a_figure_that_stands_nowhere_is_named(content: str, answer: str, missing: list[str]) -> None:
    assert ungrounded(answer, [TASK, result(content)]) == missing


def test_before_anything_was_computed_small_numbers_count_too() -> None:
    assert ungrounded("There are 8.", [TASK]) == ["8"]
    assert ungrounded("There are 8.", [TASK, result("12")]) == []


def test_what_the_model_said_itself_is_no_source() -> None:
    assert ungrounded("It is 220.70.", [TASK, Message(role="assistant", content="220.70")]) == ["220.70"]


@given(value=st.floats(10, 1e9), digits=st.integers(0, 4))
def test_any_rounding_of_a_result_is_grounded(value: float, digits: int) -> None:
    assert ungrounded(f"It is {value:,.{digits}f}.", [TASK, result(repr(value))]) == []


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    ungrounded(text, [TASK, result(text)])
