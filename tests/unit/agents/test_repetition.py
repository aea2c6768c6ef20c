"""The same call with the same result: the model is told once, then it gets no more tools."""

from __future__ import annotations

from support.stage import Stage, turn

from openhearth.agents.repetition import PUSH, REMEMBERED, pushed, remember
from openhearth.events import ToolFinished
from openhearth.tools.function import tool
from openhearth.types import FileChange, Sampling, ToolCall, ToolOutput


@tool(read_only=True)
def look(where: str = "here") -> str:
    """Look somewhere."""
    return f"nothing {where}"


async def test_told_once_then_stopped(stage: Stage) -> None:
    again = turn("", ("look", {}))
    script = [again, again, again, turn("There is nothing.", expect="the same call keeps giving the same result")]
    played = await stage.run("Look.", script, look)

    assert (played.finished.status, played.finished.output) == ("done", "There is nothing.")
    told = [text for role, text in await stage.history(played.finished.thread_id) if role == "tool"]
    assert ["exactly this call before" in text for text in told] == [False, True, False]
    assert [request.tool_choice for request in stage.model.requests] == ["auto"] * 3 + ["none"]
    # Only what follows a repeated call is sampled; a run that asks for greedy decoding stays repeatable.
    assert [request.sampling.temperature for request in stage.model.requests] == [0, 0, PUSH, PUSH]
    assert [request.sampling.seed for request in stage.model.requests] == [None, None, 2, 3]
    assert played.notices == [
        "look was called again with the same result.",
        "look was called again with the same result.",
        "No more tools: the same call keeps giving the same result.",
    ]


def test_a_push_keeps_what_was_chosen() -> None:
    assert pushed(Sampling(temperature=0.2, seed=7), 3) == Sampling(temperature=PUSH, seed=7)
    assert pushed(Sampling(temperature=0.2), 3).seed is None
    warm = Sampling(temperature=1.1)
    assert pushed(warm, 3) is warm


async def test_a_cycle_of_two_calls_is_noticed_too(stage: Stage) -> None:
    cycle = [turn("", ("look", {"where": where})) for where in ("up", "down") * 3]
    played = await stage.run("Look.", [*cycle[:5], turn("Nothing.")], look)
    assert played.finished.status == "done"
    assert len(played.of(ToolFinished)) == 5


async def test_a_result_that_changes_is_no_repetition(stage: Stage) -> None:
    seen = []

    @tool
    def count() -> str:
        """Count."""
        seen.append(1)
        return str(len(seen))

    played = await stage.run("Count.", [*[turn("", ("count", {}))] * 5, turn("Five.")], count)
    assert (played.finished.status, played.notices) == ("done", [])


async def test_repeating_a_mistake_is_a_repetition(stage: Stage) -> None:
    wrong = turn("", ("lok", {}))
    played = await stage.run("Look.", [wrong, wrong, wrong, turn("I cannot.")], look)
    assert played.finished.status == "done"
    assert stage.model.requests[-1].tool_choice == "none"


async def test_a_model_that_answers_a_stopped_loop_with_nothing_fails(stage: Stage) -> None:
    played = await stage.run("Look.", [turn("", ("look", {}), repeat=True)], look)
    assert played.finished.status == "failed"
    assert played.finished.error is not None
    assert played.finished.error.code == "run"


def test_changed_files_are_progress() -> None:
    call, output = ToolCall(id="1", name="check"), ToolOutput(content="2 failures", ok=False)
    recent, before = remember([], call, output)
    assert before == 0
    edit = ToolOutput(content="ok", changes=(FileChange(path="a.py", kind="modified"),))
    recent, _ = remember(recent, ToolCall(id="2", name="edit"), edit)
    recent, before = remember(recent, call, output)
    assert before == 0
    assert remember(recent, call, output)[1] == 1


def test_memory_is_bounded_and_tells_calls_apart() -> None:
    recent: list[str] = []
    for number in range(100):
        call = ToolCall(id=str(number), name="look", arguments={"number": number})
        recent, before = remember(recent, call, ToolOutput(content="same"))
        assert before == 0
    assert len(recent) == REMEMBERED
