"""What ends a run early, and what is kept then."""

from __future__ import annotations

import asyncio

import pytest
from support.stage import Played, Stage, turn

from openhearth.agents.budget import allowance, time_left_s
from openhearth.agents.spec import Limits
from openhearth.agents.state import Spent
from openhearth.errors import BudgetExceededError
from openhearth.events import ModelFinished, ToolFinished
from openhearth.tools.function import tool
from openhearth.types import Usage


@tool(read_only=True)
def look(number: int) -> str:
    """Look something up."""
    return f"value {number}"


def calls(*numbers: int, text: str = "") -> object:
    return turn(text, *(("look", {"number": number}) for number in numbers))


def code(played: Played) -> str:
    error = played.finished.error
    return error.code if error else ""


async def test_the_last_round_has_no_tools(stage: Stage) -> None:
    script = [calls(1), calls(2), turn("Enough.", expect="No more tools can be used: this is the last of 3 rounds")]
    played = await stage.run("Look.", script, look, max_steps=3)

    assert (played.finished.status, played.finished.output, played.finished.steps) == ("done", "Enough.", 3)
    assert [request.tool_choice for request in stage.model.requests] == ["auto", "auto", "none"]
    first, *others = (request.tools for request in stage.model.requests)
    assert others == [first, first], "the prompt's beginning stays the same"
    assert played.notices == ["No more tools: this is the last of 3 rounds."]
    assert "No more tools" not in str(await stage.history(played.finished.thread_id)), "shown, not kept"


async def test_calls_in_the_last_round_are_left_out(stage: Stage) -> None:
    played = await stage.run("Look.", [calls(1), calls(2, text="I would look again.")], look, max_steps=2)
    assert played.finished.status == "done"
    assert played.of(ModelFinished)[-1].message.tool_calls == ()
    assert len(played.of(ToolFinished)) == 1
    assert "left out" in played.notices[-1]


async def test_no_answer_in_the_last_round_is_a_spent_budget(stage: Stage) -> None:
    played = await stage.run("Look.", [calls(1), calls(2)], look, max_steps=2)
    assert (played.finished.status, code(played)) == ("failed", "budget")
    assert ("tool", "value 1") in await stage.history(played.finished.thread_id), "partial work is kept"


async def test_spent_calls_end_with_an_answer(stage: Stage) -> None:
    script = [calls(1, 2, 3), turn("Two.", expect="the limit of 2 tool calls is reached")]
    played = await stage.run("Look.", script, look, max_tool_calls=2)

    assert [event.output.ok for event in played.of(ToolFinished)] == [True, True, False]
    assert "limit of 2 tool calls" in played.of(ToolFinished)[2].output.content
    assert stage.model.requests[1].tool_choice == "none"
    assert played.finished.status == "done"


async def test_no_calls_allowed_means_no_tools_at_all(stage: Stage) -> None:
    played = await stage.run("Look.", [turn("I cannot.")], look, max_tool_calls=0)
    assert stage.model.requests[0].tool_choice == "none"
    assert played.finished.status == "done"


async def test_a_reply_that_hits_its_own_limit_is_an_answer_with_a_notice(stage: Stage) -> None:
    played = await stage.run("Count.", [turn("one two three four five six")], max_reply_tokens=3)
    assert (played.finished.status, played.finished.output) == ("done", "one two three")
    assert played.notices == ["The reply was cut after 3 tokens."]


async def test_tokens_of_the_run_are_a_hard_stop_and_the_text_is_kept(stage: Stage) -> None:
    prompt = (await stage.run("Count.", [turn("x")])).finished.usage.prompt_tokens
    played = await stage.run("Count.", [turn("one two three four five six")], max_tokens=prompt + 4)

    assert (played.finished.status, code(played)) == ("failed", "budget")
    assert played.finished.output == "one two three four"
    assert played.finished.usage.total_tokens == prompt + 4
    assert (await stage.history(played.finished.thread_id))[-1] == ("assistant", "one two three four")


async def test_a_prompt_beyond_the_token_budget_is_not_decoded(stage: Stage) -> None:
    played = await stage.run("Count.", [turn("one")], max_tokens=3)
    assert (played.finished.status, code(played)) == ("failed", "budget")
    assert stage.model.requests == []


async def test_time_is_a_hard_stop_for_the_model(stage: Stage) -> None:
    played = await stage.run("Think.", [turn("a b c d e f g h", delay_s=40)], max_time_s=0.6)
    assert (played.finished.status, code(played)) == ("failed", "budget")
    assert stage.model.requests[0].time_limit_s is not None
    assert stage.model.requests[0].time_limit_s <= 0.6


async def test_time_is_a_hard_stop_for_a_tool(stage: Stage) -> None:
    ended: list[str] = []

    @tool
    async def forever() -> str:
        """Never ends."""
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("stopped")
        return "?"

    played = await stage.run("Wait.", [turn("Now.", ("forever", {}))], forever, max_time_s=0.8)
    assert (played.finished.status, code(played)) == ("failed", "budget")
    assert ended == ["stopped"]
    assert not played.of(ToolFinished)[0].output.ok
    role, text = (await stage.history(played.finished.thread_id))[-1]
    assert role == "tool"
    assert "may have taken effect" in text


async def test_waiting_for_a_person_costs_no_time(stage: Stage) -> None:
    @tool
    def act() -> str:
        """Act."""
        return "acted"

    played = await stage.run("Act.", [turn("", ("act", {})), turn("Done.")], act, approve="ask", max_time_s=5)
    worked = played.finished.duration_s
    await asyncio.sleep(0.5)
    await stage.runtime.decide(played.question.approval_id, approve=True)
    again = await stage.resume(played.run_id)
    assert again.finished.status == "done"
    row = await stage.runtime.run_record(played.run_id)
    assert row.duration_s < (row.updated_at - row.created_at).total_seconds() - 0.5
    assert row.duration_s > worked


async def test_a_reply_cut_inside_a_call_is_tried_again(stage: Stage) -> None:
    # Three tokens are not enough for the call; the follow-up is a user message, so the script starts over.
    script = [turn("Short.", match="cut off"), turn("", ("look", {"number": 1}))]
    played = await stage.run("Look.", script, look, max_reply_tokens=3)
    assert played.finished.status == "done"


@pytest.mark.parametrize(
    ("spent", "last"),
    [
        (Spent(), ""),
        (Spent(rounds=9), "this is the last of 10 rounds"),
        (Spent(calls=5), "the limit of 5 tool calls is reached"),
        (Spent(usage=Usage(prompt_tokens=850, completion_tokens=50)), "the token budget is nearly spent"),
        (Spent(usage=Usage(prompt_tokens=850, cached_tokens=800, completion_tokens=50)), ""),
        (Spent(work_s=95), "the time is nearly over"),
    ],
)
def test_the_last_affordable_round(spent: Spent, last: str) -> None:
    limits = Limits(max_steps=10, max_tool_calls=5, max_tokens=1000, max_reply_tokens=100, max_time_s=100)
    assert allowance(limits, spent, prompt_tokens=0).last == last


def test_a_prompt_that_continues_the_last_one_costs_only_what_is_new() -> None:
    limits = Limits(max_tokens=1000, max_reply_tokens=900)
    granted = allowance(limits, Spent(rounds=1, context_used=600, usage=Usage(prompt_tokens=600)), prompt_tokens=650)
    assert granted.max_tokens == 350


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(BudgetExceededError, match="5 model rounds"):
        allowance(Limits(max_steps=5), Spent(rounds=5), 0)
    with pytest.raises(BudgetExceededError, match="tokens"):
        allowance(Limits(max_tokens=10), Spent(usage=Usage(prompt_tokens=10)), 0)
    with pytest.raises(BudgetExceededError, match="seconds"):
        time_left_s(Limits(max_time_s=2), Spent(work_s=1.5), now_s=0.6)


def test_speed_leaves_the_first_tokens_out() -> None:
    assert Spent(rounds=2, decode_s=4, usage=Usage(completion_tokens=22)).tokens_per_second == 5
    assert Spent().tokens_per_second == 0
