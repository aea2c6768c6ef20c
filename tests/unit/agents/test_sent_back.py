"""Answers whose figures were not computed go back to the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stage import Stage, turn

from openhearth.events import Notice
from openhearth.types import Message


@pytest.fixture
def data(workspace: Path) -> Path:
    file = workspace / "sales.csv"
    file.write_text("city,amount\nRome,12.5\nOslo,30.25\nRome,8\n", encoding="utf-8")
    return file


SQL = ("sql", {"query": "SELECT sum(amount) AS total FROM sales"})


async def test_an_invented_figure_is_sent_back_and_computed(stage: Stage, data: Path) -> None:
    played = await stage.run(
        "What is the total?",
        [turn("It is 99."), turn("", SQL, expect="computed 99"), turn("It is 50.75.", expect="50.75")],
        tools=("sql",),
    )
    assert played.finished.status == "done"
    assert played.finished.output == "It is 50.75."
    assert [notice.text for notice in played.of(Notice)] == [
        "The answer was not computed from the data; it was sent back."
    ]


async def test_a_model_that_insists_has_its_way(stage: Stage, data: Path) -> None:
    played = await stage.run("What is the total?", [turn("99"), turn("99"), turn("99")], tools=("sql",))
    assert (played.finished.status, played.finished.output, played.finished.steps) == ("done", "99", 3)


async def test_computed_figures_are_not_sent_back(stage: Stage, data: Path) -> None:
    played = await stage.run("The total?", [turn("", SQL), turn("It is 50.75.")], tools=("sql",))
    assert (played.finished.output, played.finished.steps) == ("It is 50.75.", 2)


async def test_an_answer_after_a_failed_query_is_sent_back(stage: Stage, data: Path) -> None:
    wrong = ("sql", {"query": "SELECT sum(nothing) FROM sales"})
    script = [
        turn("", wrong),
        turn("There is no such column.", expect="nothing"),
        turn("", SQL, expect="The last call failed"),
        turn("It is 50.75."),
    ]
    played = await stage.run("What is the total?", script, tools=("sql",))
    assert (played.finished.status, played.finished.output) == ("done", "It is 50.75.")
    assert [request.tool_choice for request in stage.model.requests] == ["auto", "auto", "required", "auto"]


async def test_without_data_nothing_is_checked(stage: Stage) -> None:
    played = await stage.run("How many legs has a spider?", [turn("8")], tools=("sql",))
    assert (played.finished.output, played.finished.steps) == ("8", 1)


async def test_the_users_history_does_not_show_it(stage: Stage, data: Path) -> None:
    played = await stage.run("What is the total?", [turn("99"), turn("None.")], tools=("sql",))
    entries = await stage.runtime.thread_history(played.finished.thread_id)
    assert [entry.message for entry in entries] == [
        Message(role="user", content="What is the total?"),
        Message(role="assistant", content="99"),
        Message(role="assistant", content="None."),
    ]
