from datetime import UTC, datetime, timedelta
from typing import Any

from openhearth.events import Event, ModelFinished, RunFinished, RunStarted, StepStarted, TextDelta
from openhearth.tui.meters import Meters
from openhearth.types import Message, ModelInfo, Timings, Usage

START = datetime(2026, 3, 14, tzinfo=UTC)
MODEL = ModelInfo(reference="m", backend="local", context_length=4096, device="cpu", precision="int8")


def ids(at_s: float = 0) -> dict[str, Any]:
    return {"run_id": "run_1", "thread_id": "thr_1", "time": START + timedelta(seconds=at_s)}


def delta(at_s: float, tokens: int) -> TextDelta:
    return TextDelta(**ids(at_s), text="x", tokens=tokens)


def finished(tokens: int, decode_s: float) -> ModelFinished:
    return ModelFinished(
        **ids(),
        message=Message(role="assistant"),
        usage=Usage(prompt_tokens=100, completion_tokens=tokens),
        timings=Timings(decode_s=decode_s),
        context_used=100 + tokens,
        context_length=4096,
    )


def after(*events: Event) -> Meters:
    meters = Meters()
    for event in events:
        meters.apply(event)
    return meters


def test_speed_while_a_reply_is_written_is_that_of_the_last_two_seconds() -> None:
    meters = after(StepStarted(**ids(), step=1, node="model"), delta(0, 1), delta(1, 11))
    assert meters.live
    assert meters.speed == 10
    for second in range(2, 8):
        meters.apply(delta(second, 11 + 20 * (second - 1)))
    assert meters.speed == 20


def test_speed_after_a_reply_is_its_own_figure() -> None:
    meters = after(delta(0, 1), delta(1, 5), finished(41, 2.0))
    assert not meters.live
    assert meters.speed == 20
    assert meters.context_used == 141
    assert meters.context_share == 141 / 4096


def test_deltas_of_one_instant_divide_by_nothing() -> None:
    assert after(delta(0, 1), delta(0, 5)).speed == 0


def test_a_new_reply_is_not_measured_against_the_last_one() -> None:
    meters = after(delta(0, 1), delta(1, 100), StepStarted(**ids(2), step=2, node="model"), delta(2, 1), delta(3, 6))
    assert meters.speed == 5


def test_the_model_is_known_from_the_start_of_a_run() -> None:
    meters = after(RunStarted(**ids(), task="", model=MODEL, approve="ask"))
    assert (meters.model, meters.context_length, meters.context_share) == (MODEL, 4096, 0)


def test_a_past_run_tells_the_context_but_not_the_model() -> None:
    meters = Meters()
    meters.recall([RunStarted(**ids(), task="", model=MODEL, approve="ask"), finished(41, 2.0)])
    assert meters.model is None
    assert meters.context_used == 141
    meters.forget_thread()
    assert (meters.context_used, meters.speed) == (0, 0)


def test_the_end_of_a_run_ends_the_live_speed() -> None:
    meters = after(delta(0, 1), delta(1, 11), RunFinished(**ids(2), status="cancelled"))
    assert not meters.live
    assert meters.speed == 10
