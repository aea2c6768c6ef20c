"""What the model is shown, and the error when it is too much."""

from __future__ import annotations

import pytest
from support.stage import Stage, WatchedModel, turn

from openhearth.agents.context import conversation, count_prompt, unanswered, with_notice
from openhearth.errors import ContextOverflowError
from openhearth.events import ToolFinished
from openhearth.tools.function import tool
from openhearth.types import Message, ModelRequest, ToolCall, ToolSpec

CALLS = (ToolCall(id="a", name="look"), ToolCall(id="b", name="look"))
ASKING = Message(role="assistant", tool_calls=CALLS)


def result(call_id: str) -> Message:
    return Message(role="tool", content="found", tool_call_id=call_id, name="look")


def user(text: str) -> Message:
    return Message(role="user", content=text)


def test_the_latest_system_message_comes_first() -> None:
    path = [Message(role="system", content="old"), user("1"), Message(role="system", content="new"), user("2")]
    assert [m.content for m in conversation(path)] == ["new", "1", "2"]
    assert conversation([user("1")]) == (user("1"),)


def test_every_call_has_a_result() -> None:
    shown = conversation([user("?"), ASKING, result("a"), user("go on"), ASKING])
    assert [(m.role, m.tool_call_id) for m in shown] == [
        ("user", None),
        ("assistant", None),
        ("tool", "a"),
        ("tool", "b"),
        ("user", None),
        ("assistant", None),
        ("tool", "a"),
        ("tool", "b"),
    ]
    assert "interrupted" in shown[3].content


def test_a_complete_conversation_is_shown_as_it_is() -> None:
    path = [Message(role="system", content="s"), user("?"), ASKING, result("a"), result("b"), user("more")]
    assert conversation(path) == tuple(path)


def test_unanswered_calls() -> None:
    assert unanswered([user("?"), ASKING]) == [*CALLS]
    assert unanswered([user("?"), ASKING, result("a")]) == [CALLS[1]]
    assert unanswered([user("?"), ASKING, result("a"), result("b")]) == []
    assert unanswered([user("?"), ASKING, user("never mind")]) == []
    assert unanswered([]) == []


def test_a_notice_is_part_of_the_last_message() -> None:
    assert with_notice([user("?")], "[n]") == (user("?\n\n[n]"),)
    assert with_notice([user("")], "[n]") == (user("[n]"),)


@pytest.mark.parametrize(
    ("too_large", "request_"),
    [
        ("system prompt", ModelRequest(messages=(Message(role="system", content="word " * 90), user("x")))),
        ("conversation", ModelRequest(messages=(user("word " * 90),))),
        (
            "tool results",
            ModelRequest(messages=(user("x"), ASKING, result("a").model_copy(update={"content": "w " * 90}))),
        ),
        (
            "tools",
            ModelRequest(messages=(user("x"),), tools=(ToolSpec(name="t", description="word " * 90, parameters={}),)),
        ),
    ],
)
async def test_overflow_says_what_is_too_large(too_large: str, request_: ModelRequest) -> None:
    model = WatchedModel([turn("?")], context=80)
    with pytest.raises(ContextOverflowError) as caught:
        await count_prompt(model, request_)
    _, _, parts = caught.value.message.partition("holds 80: ")
    sizes = {name: int(size) for name, size in (part.rsplit(" ", 1) for part in parts.rstrip(".").split(", "))}
    assert max(sizes, key=sizes.__getitem__) == too_large
    assert sizes[too_large] >= 90


async def test_room_for_a_reply_is_part_of_the_prompt() -> None:
    model = WatchedModel([turn("?")], context=100)
    assert await count_prompt(model, ModelRequest(messages=(user("word " * 80),))) == 81
    with pytest.raises(ContextOverflowError):
        await count_prompt(model, ModelRequest(messages=(user("word " * 95),)))


async def test_an_overflow_ends_the_run_and_keeps_its_work(stage: Stage) -> None:
    @tool(read_only=True)
    def read() -> str:
        """Read much."""
        return "word " * 400

    played = await stage.run("Read.", [turn("", ("read", {})), turn("Never.")], read, context=400)
    assert played.finished.status == "failed"
    assert played.finished.error is not None
    assert played.finished.error.code == "context_overflow"
    assert "tool results 4" in played.finished.error.message
    assert played.of(ToolFinished)[0].output.ok


async def test_the_reply_never_outgrows_the_context(stage: Stage) -> None:
    played = await stage.run("Count.", [turn("word " * 500)], context=100)
    assert played.finished.status == "done"
    assert played.finished.usage.total_tokens == 100
