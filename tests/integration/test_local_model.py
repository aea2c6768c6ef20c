"""The local backend with the real engine and the small model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openhearth.config import ModelSettings, Settings
from openhearth.errors import ContextOverflowError, ModelUnavailableError
from openhearth.models.backends.local import LocalModel
from openhearth.models.open import open_model
from openhearth.types import CallPiece, Message, ModelRequest, Piece, Reply, Sampling, TextPiece, ToolCall, ToolSpec

pytestmark = pytest.mark.slow

SETTINGS = Settings(model=ModelSettings(context=2048))
WEATHER = ToolSpec(
    name="get_weather",
    description="The weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "unit"],
    },
)
READ = ToolSpec(
    name="read_file",
    description="Read a file.",
    parameters={
        "type": "object",
        "properties": {"path": {"type": "string", "maxLength": 40}, "lines": {"type": "integer", "maximum": 99}},
        "required": ["path"],
    },
)
PYTHON = ToolSpec(
    name="python",
    description="Run Python code.",
    parameters={"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    language="python",
)


@pytest.fixture
async def model(smollm2_store: Path) -> AsyncIterator[LocalModel]:
    opened = await LocalModel.open(smollm2_store, SETTINGS)
    yield opened
    await opened.aclose()


def request(text: str, **fields: Any) -> ModelRequest:
    sampling = Sampling.model_validate({"max_tokens": 48, **fields.pop("sampling", {})})
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=text))
    return ModelRequest.model_validate({"messages": messages, "sampling": sampling, **fields})


async def ask(model: LocalModel, asked: ModelRequest) -> tuple[list[Piece], Reply]:
    pieces = [piece async for piece in model.stream(asked)]
    reply = pieces.pop()
    assert isinstance(reply, Reply)
    return pieces, reply


async def test_text_streams_and_is_counted(model: LocalModel) -> None:
    asked = request("Name three colours.")
    pieces, reply = await ask(model, asked)
    texts = [piece for piece in pieces if isinstance(piece, TextPiece)]
    assert len(texts) > 3
    assert "".join(piece.text for piece in texts) == reply.message.content
    assert reply.message.content.strip()
    assert [piece.tokens for piece in texts] == sorted(piece.tokens for piece in texts)
    assert reply.usage.prompt_tokens == await model.count_tokens(asked)
    assert 0 < reply.usage.completion_tokens <= 48
    assert reply.timings.first_token_s > 0
    assert (model.info.backend, model.info.context_length) == ("local", 2048)


async def test_greedy_and_seeded_replies_repeat(model: LocalModel) -> None:
    hot = {"temperature": 1.0, "max_tokens": 12}
    # int8 rounds a little differently when the prompt comes from the cache: so that both compare, it always does.
    await ask(model, request("Tell a story.", sampling={"max_tokens": 1}))
    for sampling in ({"max_tokens": 12}, {**hot, "seed": 7}):
        first = (await ask(model, request("Tell a story.", sampling=sampling)))[1].message.content
        assert (await ask(model, request("Tell a story.", sampling=sampling)))[1].message.content == first
    seeds = {(await ask(model, request("Tell a story.", sampling={**hot, "seed": s})))[1].message for s in range(4)}
    assert len(seeds) > 1


@pytest.mark.parametrize("seed", range(5))
async def test_a_forced_call_parses(model: LocalModel, seed: int) -> None:
    hot = {"temperature": 1.5, "seed": seed, "max_tokens": 120}
    asked = request("What is the weather in Rome?", tools=(WEATHER, READ), tool_choice="tool:get_weather", sampling=hot)
    pieces, reply = await ask(model, asked)
    (call,) = reply.message.tool_calls
    assert call.name == "get_weather"
    assert call.arguments.keys() == {"city", "unit"}
    assert call.arguments["unit"] in ("C", "F")
    assert (reply.finish, reply.message.content) == ("tool_calls", "")
    assert json.loads("".join(piece.text for piece in pieces if isinstance(piece, CallPiece)))["name"] == call.name


@pytest.mark.parametrize("seed", range(3))
async def test_a_required_call_is_of_some_tool(model: LocalModel, seed: int) -> None:
    hot = {"temperature": 1.5, "seed": seed, "max_tokens": 120}
    _, reply = await ask(model, request("Do it.", tools=(WEATHER, READ), tool_choice="required", sampling=hot))
    assert reply.message.tool_calls
    assert {call.name for call in reply.message.tool_calls} <= {"get_weather", "read_file"}


@pytest.mark.parametrize("seed", range(3))
async def test_structured_output_is_an_instance(model: LocalModel, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        },
        "required": ["name", "age", "tags"],
    }
    hot = {"temperature": 1.5, "seed": seed, "max_tokens": 120}
    _, reply = await ask(model, request("Anna is 31.", output_schema=schema, sampling=hot))
    value = json.loads(reply.message.content)
    assert value.keys() == {"name", "age", "tags"}
    assert 0 <= value["age"] <= 120
    assert set(value["tags"]) <= {"a", "b"}
    assert reply.finish == "stop"


async def test_a_code_block_is_a_call(model: LocalModel) -> None:
    asked = request(
        "Write Python code that prints 2 + 2.", tools=(PYTHON,), tool_choice="tool:python", sampling={"max_tokens": 200}
    )
    pieces, reply = await ask(model, asked)
    (call,) = reply.message.tool_calls
    assert call.name == "python"
    code = call.arguments["code"]
    assert isinstance(code, str)
    assert code.strip()
    assert "```" not in code
    assert code in "".join(piece.text for piece in pieces if isinstance(piece, CallPiece))
    assert reply.finish == "tool_calls"


async def test_calls_and_results_go_back_into_the_prompt(model: LocalModel) -> None:
    call = ToolCall(id="call_1", name="get_weather", arguments={"city": "Rome", "unit": "C"})
    messages = (
        Message(role="user", content="What is the weather in Rome?"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="21 degrees, sunny", tool_call_id="call_1", name="get_weather"),
    )
    asked = ModelRequest(messages=messages, tools=(WEATHER,), sampling=Sampling(max_tokens=24))
    without = asked.model_copy(update={"tools": ()})
    assert await model.count_tokens(asked) > await model.count_tokens(without)
    _, reply = await ask(model, asked)
    assert reply.usage.completion_tokens > 0


async def test_the_next_turn_prefills_only_what_is_new(model: LocalModel) -> None:
    first = request("Name a colour.")
    _, reply = await ask(model, first)
    messages = (*first.messages, reply.message, Message(role="user", content="Another one."))
    _, second = await ask(model, first.model_copy(update={"messages": messages}))
    assert second.usage.cached_tokens >= reply.usage.prompt_tokens + reply.usage.completion_tokens - 1


async def test_a_round_without_calls_keeps_the_prefix(model: LocalModel) -> None:
    asked = request("What is the weather in Rome?", tools=(WEATHER,), sampling={"max_tokens": 4})
    await ask(model, asked)
    _, reply = await ask(model, asked.model_copy(update={"tool_choice": "none"}))
    assert reply.usage.cached_tokens == reply.usage.prompt_tokens - 1


async def test_with_choice_none_there_is_no_call(model: LocalModel) -> None:
    asked = request("What is the weather in Rome?", tools=(WEATHER,), tool_choice="none")
    _, reply = await ask(model, asked)
    assert reply.message.tool_calls == ()


async def test_stop_strings_end_the_text(model: LocalModel) -> None:
    await ask(model, request("Count from one to nine."))
    whole = (await ask(model, request("Count from one to nine.")))[1].message.content
    middle = whole[8:13]
    pieces, reply = await ask(model, request("Count from one to nine.", sampling={"stop": (middle,)}))
    assert reply.message.content == whole[: whole.index(middle)]
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == reply.message.content
    assert reply.finish == "stop"
    assert reply.usage.completion_tokens < 48


async def test_limits_end_the_reply_with_length(model: LocalModel) -> None:
    _, reply = await ask(model, request("Tell a long story.", sampling={"max_tokens": 5}))
    assert (reply.finish, reply.usage.completion_tokens) == ("length", 5)
    _, reply = await ask(model, request("Tell a long story.", time_limit_s=0.0))
    assert reply.finish == "length"


async def test_a_call_that_is_cut_off_is_text(model: LocalModel) -> None:
    asked = request("Go.", tools=(WEATHER,), tool_choice="required", sampling={"max_tokens": 8})
    _, reply = await ask(model, asked)
    assert (reply.finish, reply.message.tool_calls) == ("length", ())
    assert reply.message.content.startswith("<tool_call>")


async def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers(model: LocalModel) -> None:
    asked = request("word " * 3000)
    count = await model.count_tokens(asked)
    with pytest.raises(ContextOverflowError, match=rf"{count} tokens.*holds 2048"):
        await ask(model, asked)


async def test_closing_early_stops_the_engine(model: LocalModel) -> None:
    stream = model.stream(request("Tell a very long story.", sampling={"max_tokens": 1500}))
    async for _ in stream:
        break
    await stream.aclose()
    # The engine is free for the next request at once.
    _, reply = await asyncio.wait_for(ask(model, request("Hi.", sampling={"max_tokens": 2})), 30)
    assert reply.usage.completion_tokens <= 2


async def test_requests_at_once_are_answered_each_by_its_own_reply(model: LocalModel) -> None:
    asked = [
        request(f"Repeat this word and nothing else: {word}", sampling={"max_tokens": 12})
        for word in ("London", "banana", "seven")
    ]
    replies = await asyncio.gather(*(ask(model, one) for one in asked))
    for one, (_, reply) in zip(asked, replies, strict=True):
        assert reply.usage.prompt_tokens == await model.count_tokens(one)
    together = [reply.message.content.lower() for _, reply in replies]
    assert [word in text for word, text in zip(("london", "banana", "seven"), together, strict=True)] == [True] * 3


async def test_an_engine_is_shared_and_closed_by_its_last_user(model: LocalModel, smollm2_store: Path) -> None:
    other = await LocalModel.open(smollm2_store, SETTINGS)
    assert other._loaded is model._loaded
    await other.aclose()
    await other.aclose()
    assert (await ask(model, request("Hi.", sampling={"max_tokens": 2})))[1].usage.completion_tokens


async def test_a_store_is_opened_by_its_folder(smollm2_store: Path) -> None:
    opened = await open_model(str(smollm2_store), SETTINGS)
    assert opened.info.backend == "local"
    await opened.aclose()


async def test_a_model_that_may_not_be_pulled_is_unavailable() -> None:
    with pytest.raises(ModelUnavailableError, match="not on this machine") as caught:
        await open_model("smollm2-135m", Settings(model=ModelSettings(auto_pull=False)))
    assert "hearth models pull smollm2-135m" in caught.value.hint
