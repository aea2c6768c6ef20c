"""Events and values survive JSON, and refuse what they do not know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openhearth.events import EVENT_ADAPTER, Event, ToolFinished, ToolStarted
from openhearth.types import Message, Timings, ToolCall, ToolOutput, Usage

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
calls = st.builds(
    ToolCall, id=st.text(min_size=1), name=st.text(min_size=1), arguments=st.dictionaries(st.text(), json_values)
)


@given(call=calls, seq=st.integers(0, 2**31), duration=st.floats(0, 1e6))
def test_an_event_survives_json(call: ToolCall, seq: int, duration: float) -> None:
    output = ToolOutput(content="x")
    event = ToolFinished(run_id="run_1", thread_id="thr_1", seq=seq, call=call, output=output, duration_s=duration)
    assert EVENT_ADAPTER.validate_json(event.model_dump_json()) == event


def test_every_event_type_has_its_own_name() -> None:
    names = [kind.model_fields["type"].default for kind in get_args(Event)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "payload", [{"type": "no_such"}, {}, {"type": "tool_started", "run_id": "r", "thread_id": "t"}]
)
def test_what_is_no_event_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EVENT_ADAPTER.validate_python(payload)


def test_values_are_frozen_and_closed() -> None:
    message = Message(role="user", content="hi")
    with pytest.raises(ValidationError):
        message.content = "changed"
    with pytest.raises(ValidationError):
        Message.model_validate({"role": "user", "contents": "hi"})


def test_time_is_stamped_in_utc() -> None:
    event = ToolStarted(run_id="r", thread_id="t", call=ToolCall(id="1", name="f"))
    assert event.time.tzinfo is UTC
    assert event.time <= datetime.now(UTC)


def test_usage_adds_up() -> None:
    usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=2) + Usage(prompt_tokens=1, completion_tokens=1)
    assert usage == Usage(prompt_tokens=11, cached_tokens=4, completion_tokens=3)
    assert usage.total_tokens == 14


@pytest.mark.parametrize(("tokens", "seconds", "speed"), [(11, 2.0, 5.0), (1, 2.0, 0.0), (0, 0.0, 0.0), (5, 0.0, 0.0)])
def test_speed_leaves_out_the_first_token(tokens: int, seconds: float, speed: float) -> None:
    assert Timings(decode_s=seconds).tokens_per_second(tokens) == speed
