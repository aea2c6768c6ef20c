from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest

from openhearth.config import Settings
from openhearth.errors import ConfigError, ContextOverflowError, ModelError, ModelUnavailableError
from openhearth.models.backends.scripted import Script, ScriptedCall, ScriptedModel, ScriptedTurn, count_text_tokens
from openhearth.models.open import open_model
from openhearth.types import CallPiece, Message, ModelRequest, Piece, Reply, Sampling, TextPiece, ToolCall, ToolSpec


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str, *calls: ToolCall) -> Message:
    return Message(role="assistant", content=text, tool_calls=calls)


async def ask(model: ScriptedModel, *messages: Message, **fields: object) -> tuple[list[Piece], Reply]:
    request = ModelRequest.model_validate({"messages": messages, **fields})
    pieces = [piece async for piece in model.stream(request)]
    reply = pieces.pop()
    assert isinstance(reply, Reply)
    return pieces, reply


async def test_text_is_streamed_in_pieces_that_add_up() -> None:
    text = "  Hello,  world!\nBye.  "
    pieces, reply = await ask(ScriptedModel([ScriptedTurn(text=text)]), user("hi"))
    assert len(pieces) > 4
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == text == reply.message.content
    assert reply.usage.completion_tokens == count_text_tokens(text) == pieces[-1].tokens == 6  # type: ignore[union-attr]
    assert reply.finish == "stop"


async def test_calls_carry_ids_unique_in_the_conversation() -> None:
    call = ScriptedCall(name="lookup", arguments={"city": "Rome"})
    model = ScriptedModel([ScriptedTurn(calls=(call, call)), ScriptedTurn(calls=(call,))])
    pieces, first = await ask(model, user("hi"))
    assert [type(piece) for piece in pieces] == [CallPiece, CallPiece]
    assert [c.id for c in first.message.tool_calls] == ["call_1", "call_2"]
    assert first.finish == "tool_calls"
    _, second = await ask(model, user("hi"), first.message)
    assert [c.id for c in second.message.tool_calls] == ["call_3"]


async def test_calls_in_the_text_are_read() -> None:
    tool = ToolSpec(name="python", description="", parameters={"type": "object"}, language="python")
    model = ScriptedModel([ScriptedTurn(text="So:\n```python\nprint(1)\n```\nIt prints 1.")])
    _, reply = await ask(model, user("hi"), tools=(tool,))
    assert [(c.id, c.arguments) for c in reply.message.tool_calls] == [("call_1", {"code": "print(1)"})]
    assert (reply.message.content, reply.finish) == ("So:", "tool_calls")
    _, reply = await ask(model, user("hi"), tools=(tool,), tool_choice="none")
    assert reply.message.content.endswith("It prints 1.")


async def test_the_turn_is_chosen_by_position_and_match() -> None:
    model = ScriptedModel(
        [ScriptedTurn(match="cat", text="meow"), ScriptedTurn(match="dog", text="woof"), ScriptedTurn(text="end")]
    )
    assert (await ask(model, user("a dog")))[1].message.content == "woof"
    assert (await ask(model, user("a dog"), said("woof")))[1].message.content == "end"
    assert (await ask(model, user("a dog"), said("woof"), user("a cat")))[1].message.content == "meow"
    assert (await ask(model, user("a bird")))[1].message.content == "end"


async def test_running_out_of_turns_is_an_error_unless_the_last_repeats() -> None:
    messages = (user("a"), said("b"), said("c"))
    with pytest.raises(ModelError, match="turn 3 is asked for"):
        await ask(ScriptedModel([ScriptedTurn(text="x")]), *messages)
    assert (await ask(ScriptedModel([ScriptedTurn(text="x", repeat=True)]), *messages))[1].message.content == "x"


async def test_expect_checks_the_last_message() -> None:
    model = ScriptedModel([ScriptedTurn(expect="42", text="right")])
    assert (await ask(model, user("it is 42")))[1].message.content == "right"
    with pytest.raises(ModelError, match="expects '42'"):
        await ask(model, user("it is 41"))


async def test_limits_end_the_reply_with_length() -> None:
    model = ScriptedModel([ScriptedTurn(text="one two three")])
    _, reply = await ask(model, user("x"), sampling=Sampling(max_tokens=2))
    assert (reply.message.content, reply.finish, reply.usage.completion_tokens) == ("one two", "length", 2)
    slow = ScriptedModel([ScriptedTurn(text="one two three", delay_s=30)])
    _, reply = await ask(slow, user("x"), time_limit_s=0.01)
    assert (reply.message.content, reply.finish) == ("", "length")


async def test_delay_is_spread_over_the_pieces() -> None:
    model = ScriptedModel([ScriptedTurn(text="a b c d", delay_s=0.08)])
    started = time.monotonic()
    _, reply = await ask(model, user("x"))
    assert time.monotonic() - started >= 0.08
    assert reply.timings.first_token_s < reply.timings.first_token_s + reply.timings.decode_s


async def test_the_prompt_is_counted_and_must_fit() -> None:
    model = ScriptedModel(Script(turns=(ScriptedTurn(text="x"),), context=4))
    request = ModelRequest(messages=(user("a b c"),))
    assert await model.count_tokens(request) == 4
    with pytest.raises(ContextOverflowError, match="4 tokens; the context holds 4"):
        await ask(model, user("a b c"))


async def test_a_file_is_opened_through_its_reference(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        textwrap.dedent("""\
            context: 100
            turns:
              - calls:
                  - {name: look, arguments: {day: 2024-03-01}}
        """)
    )
    model = await open_model(f"scripted:{file}", Settings())
    assert (model.info.backend, model.info.context_length) == ("scripted", 100)
    pieces = [piece async for piece in model.stream(ModelRequest(messages=(user("x"),)))]
    assert isinstance(pieces[-1], Reply)
    assert pieces[-1].message.tool_calls[0].arguments == {"day": "2024-03-01"}
    await model.aclose()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- text: a\n- txet: b\n", r"line 2: turns\.1\.txet: there is no such key\. Did you mean 'text'"),
        ("- calls:\n    - name: a\n      arguments: 3\n", r"line 3: turns\.0\.calls\.0\.arguments"),
        ("- text: a\n  calls:\n    - {arguments: {}}\n", r"line 3: turns\.0\.calls\.0\.name: Field required"),
        ("turns: []\n", r"line 1: turns"),
        ("just text", r"line 1: the script"),
        ("", r"line 1: the script"),
        ("- text: [a\n- text: b\n", r"line 2"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        ScriptedModel.from_file(file)


async def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="No such file"):
        await open_model(f"scripted:{tmp_path}/none.yaml", Settings())
    with pytest.raises(ModelUnavailableError, match="No model is called"):
        await open_model("no-such-model", Settings())
