"""The loop: what a run does from its task to its answer."""

from __future__ import annotations

import asyncio

import pytest
from support.stage import Stage, turn

from openhearth.errors import ConfigError, NotFoundError, RunError
from openhearth.events import CallDelta, ModelFinished, RunStarted, StepStarted, TextDelta, ToolFinished, ToolStarted
from openhearth.storage import ledger, messages, runs, steps, threads
from openhearth.tools.function import tool
from openhearth.types import Message


@tool(read_only=True)
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


async def test_answer_without_tools_is_streamed_and_kept(stage: Stage) -> None:
    played = await stage.run("Say hello.", [turn("Hello there.")])

    assert [event.type for event in played.events if event.type != "text_delta"] == [
        "run_started",
        "step_started",
        "model_finished",
        "run_finished",
    ]
    assert "".join(delta.text for delta in played.of(TextDelta)) == "Hello there."
    finished = played.finished
    assert (finished.status, finished.output, finished.steps, finished.tool_calls) == ("done", "Hello there.", 1, 0)
    assert finished.usage.completion_tokens == 3
    assert finished.error is None
    assert await stage.history(finished.thread_id) == [("user", "Say hello."), ("assistant", "Hello there.")]


async def test_persisted_events_are_the_streamed_ones_without_deltas(stage: Stage) -> None:
    played = await stage.run("Twice 4?", [turn("", ("double", {"number": 4})), turn("8")], double)

    streamed = [event for event in played.events if not isinstance(event, TextDelta | CallDelta)]
    assert await stage.runtime.run_events(played.run_id) == streamed
    assert [event.seq for event in streamed] == list(range(1, len(streamed) + 1))
    assert await stage.runtime.run_events(played.run_id, after_seq=streamed[-2].seq) == streamed[-1:]


async def test_deltas_carry_the_seq_of_the_last_kept_event(stage: Stage) -> None:
    played = await stage.run("Hello?", [turn("Hi.")])
    started = played.of(StepStarted)[0]
    assert {delta.seq for delta in played.of(TextDelta)} == {started.seq}


async def test_tool_results_go_back_to_the_model(stage: Stage) -> None:
    played = await stage.run(
        "Twice 4?",
        [turn("Let me see.", ("double", {"number": 4})), turn("It is 8.", expect="8")],
        double,
    )

    assert played.finished.output == "It is 8."
    assert (played.finished.steps, played.finished.tool_calls) == (2, 1)
    assert played.of(ToolFinished)[0].output.content == "8"
    assert await stage.history(played.finished.thread_id) == [
        ("user", "Twice 4?"),
        ("assistant", "Let me see."),
        ("tool", "8"),
        ("assistant", "It is 8."),
    ]


async def test_several_calls_of_one_reply_run_in_order(stage: Stage) -> None:
    calls = [("double", {"number": number}) for number in (1, 2, 3)]
    played = await stage.run("Double them.", [turn("", *calls), turn("2, 4, 6", expect="6")], double)

    assert [event.output.content for event in played.of(ToolFinished)] == ["2", "4", "6"]
    assert played.finished.tool_calls == 3
    with stage.runtime.store.read() as session:
        assert [(row.name, row.state, row.attempts) for row in ledger.list(session, played.run_id)] == [
            ("double", "done", 1)
        ] * 3
        numbered = steps.list(session, played.run_id)
    assert [(row.number, row.node) for row in numbered] == [
        (1, "model"),
        *((n, "act") for n in (2, 3, 4)),
        (5, "model"),
    ]
    assert all(row.finished_at and row.attempts == 1 for row in numbered)


async def test_unknown_tool_and_wrong_arguments_are_told_to_the_model(stage: Stage) -> None:
    played = await stage.run(
        "Twice 4?",
        [
            turn("", ("duoble", {"number": 4})),
            turn("", ("double", {"numbr": "four"}), expect="double"),
            turn("I give up.", expect="number"),
        ],
        double,
    )

    assert played.finished.status == "done"
    assert [event.output.ok for event in played.of(ToolFinished)] == [False, False]
    assert played.finished.tool_calls == 2, "they count against the limit"
    assert len(played.of(ToolStarted)) == 2


async def test_arguments_are_coerced_before_they_run(stage: Stage) -> None:
    played = await stage.run("Twice 4?", [turn("", ("double", {"number": "4"})), turn("8", expect="8")], double)
    assert played.of(ToolStarted)[0].call.arguments == {"number": 4}


async def test_a_tool_that_raises_is_an_outcome(stage: Stage) -> None:
    class Brittle:
        """A tool that is no FunctionTool, and raises what it likes."""

        spec = double.spec

        def validate(self, arguments: object) -> dict[str, object]:
            return {"number": 1}

        async def preview(self, arguments: object, context: object) -> str:
            return ""

        async def call(self, arguments: object, context: object) -> object:
            raise KeyError("lost")

    played = await stage.run("?", [turn("", ("double", {"number": 4})), turn("Oh.", expect="KeyError")], Brittle())
    assert played.finished.status == "done"
    assert not played.of(ToolFinished)[0].output.ok


async def test_call_ids_stay_unique_when_the_model_repeats_them(stage: Stage) -> None:
    first = await stage.run("One.", [turn("", ("double", {"number": 1})), turn("2")], double)
    # In a new run the scripted model counts on; a server may start again, so force the clash by hand.
    clash = Message(role="assistant", tool_calls=first.of(ModelFinished)[0].message.tool_calls)
    with stage.runtime.store.write() as session:
        head = threads.get(session, first.finished.thread_id).head_id
        threads.set_head(
            session, first.finished.thread_id, messages.add(session, first.finished.thread_id, head, clash)
        )
    again = await stage.run(
        "Two.",
        [turn("", ("double", {"number": 2}), ("double", {"number": 3})), turn("done")],
        double,
        thread_id=first.finished.thread_id,
    )
    ids = [call.id for call in again.of(ModelFinished)[0].message.tool_calls]
    assert len({*ids, "call_1"}) == 3


async def test_a_second_run_goes_on_with_the_thread(stage: Stage) -> None:
    first = await stage.run("My name is Ada.", [turn("Hello Ada.")])
    second = await stage.run("What is my name?", [turn("Ada.")], thread_id=first.finished.thread_id)

    shown = [(m.role, m.content) for m in stage.model.requests[0].messages if m.role != "system"]
    assert shown == [("user", "My name is Ada."), ("assistant", "Hello Ada."), ("user", "What is my name?")]
    assert second.finished.thread_id == first.finished.thread_id
    (thread,) = await stage.runtime.threads()
    assert (thread.title, thread.runs) == ("My name is Ada.", 2)


async def test_the_system_prompt_is_kept_once_and_stays_the_same(stage: Stage) -> None:
    first = await stage.run("One.", [turn("1")], instructions="Be brief.")
    await stage.run("Two.", [turn("2")], instructions="Be brief.", thread_id=first.finished.thread_id)
    assert [m.role for m in stage.model.requests[0].messages].count("system") == 1

    await stage.run("Three.", [turn("3")], instructions="Be long.", thread_id=first.finished.thread_id)
    system, *rest = stage.model.requests[0].messages
    assert system.role == "system"
    assert "Be long." in system.content
    assert all(message.role != "system" for message in rest)


async def test_a_run_is_stored_with_all_that_it_needs(stage: Stage) -> None:
    played = await stage.run("Hello.", [turn("Hi.")], double, instructions="Be brief.")
    row = await stage.runtime.run_record(played.run_id)
    assert (row.status, row.output, row.steps) == ("done", "Hi.", 1)
    assert row.agent["tools"] == ["double"]
    assert row.agent["instructions"] == "Be brief."
    assert row.owner is None
    assert row.finished_at is not None


async def test_errors_before_a_run_exists_are_raised(stage: Stage) -> None:
    with pytest.raises(NotFoundError):
        await stage.run("Hello.", [turn("Hi.")], thread_id="thr_nobody")
    with pytest.raises(ConfigError, match="sqll"):
        await stage.run("Hello.", [turn("Hi.")], tools=("sqll",))
    assert await stage.runtime.runs() == []


async def test_a_finished_run_cannot_be_resumed(stage: Stage) -> None:
    played = await stage.run("Hello.", [turn("Hi.")])
    with pytest.raises(RunError, match="has ended"):
        await stage.resume(played.run_id)


async def test_an_error_of_the_model_ends_the_run_as_failed(stage: Stage) -> None:
    played = await stage.run("Hello.", [turn("Hi.", expect="something else")])
    assert played.finished.status == "failed"
    assert played.finished.error is not None
    assert played.finished.error.code == "model"
    row = await stage.runtime.run_record(played.run_id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "model"


async def test_runs_of_one_process_do_not_disturb_each_other(stage: Stage) -> None:
    async def one(number: int) -> str:
        script = [
            turn("", ("double", {"number": number}), delay_s=0.02),
            turn(f"{2 * number}!", expect=str(2 * number)),
        ]
        return (await stage.run(f"Twice {number}?", script, double)).finished.output

    assert await asyncio.gather(*map(one, range(1, 6))) == ["2!", "4!", "6!", "8!", "10!"]
    with stage.runtime.store.read() as session:
        assert {row.status for row in runs.list(session)} == {"done"}


async def test_run_started_tells_model_and_policy(stage: Stage) -> None:
    played = await stage.run("Hello.", [turn("Hi.")], approve="never")
    started = played.of(RunStarted)[0]
    assert (started.task, started.approve, started.model.backend) == ("Hello.", "never", "scripted")
