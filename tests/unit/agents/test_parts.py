"""The small parts: channel, cancel scope, journal, prompt, spec, records."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.stage import Stage, turn

from openhearth.agents import prompt
from openhearth.agents.channel import EventChannel
from openhearth.agents.prompt import system_prompt
from openhearth.agents.scope import CancelScope, OutOfTime
from openhearth.agents.spec import AgentSpec, Limits
from openhearth.config import AgentSettings, load_settings
from openhearth.errors import CancelledError, ConfigError, NotFoundError
from openhearth.events import CallDelta, Event, Notice, TextDelta
from openhearth.tools.builtin import BUILTIN_TOOLS
from openhearth.types import Message, ToolSpec

IDS = {"run_id": "run_1", "thread_id": "thr_1"}


def text_delta(text: str, tokens: int) -> TextDelta:
    return TextDelta(**IDS, text=text, tokens=tokens)


def call_delta(index: int, text: str, name: str = "") -> CallDelta:
    return CallDelta(**IDS, index=index, name=name, text=text)


async def drained(channel: EventChannel) -> list[Event]:
    channel.close()
    return [event async for event in channel]


async def test_channel_joins_waiting_text_and_nothing_else() -> None:
    channel = EventChannel()
    for event in (text_delta("a", 1), text_delta("b", 2), Notice(**IDS, text="n"), text_delta("c", 3)):
        channel.put(event)
    for event in (call_delta(0, "x", "sum"), call_delta(0, "y"), call_delta(1, "z", "sub")):
        channel.put(event)
    events = await drained(channel)
    shown = [(e.type, getattr(e, "name", ""), getattr(e, "text", "")) for e in events]
    assert shown == [
        ("text_delta", "", "ab"),
        ("notice", "", "n"),
        ("text_delta", "", "c"),
        ("call_delta", "sum", "xy"),
        ("call_delta", "sub", "z"),
    ]
    assert isinstance(events[0], TextDelta)
    assert events[0].tokens == 2


async def test_channel_wakes_its_reader() -> None:
    channel = EventChannel()
    task = asyncio.create_task(anext(aiter(channel)))
    await asyncio.sleep(0)
    channel.put(text_delta("a", 1))
    assert (await task).type == "text_delta"


async def test_scope_gives_results_and_errors_through() -> None:
    async def fail() -> None:
        raise ValueError("no")

    scope = CancelScope()
    assert await scope.guard(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="no"):
        await scope.guard(fail())


async def test_scope_stops_what_runs_and_what_would() -> None:
    scope = CancelScope()
    asyncio.get_running_loop().call_later(0.05, scope.cancel)
    with pytest.raises(CancelledError):
        await scope.guard(asyncio.sleep(1000))
    with pytest.raises(CancelledError):
        await scope.guard(asyncio.sleep(1000))
    with pytest.raises(CancelledError):
        scope.check()


async def test_scope_knows_its_own_time_limit_from_the_works() -> None:
    async def times_out() -> None:
        raise TimeoutError("the work's own")

    scope = CancelScope()
    with pytest.raises(OutOfTime):
        await scope.guard(asyncio.sleep(1000), timeout_s=0.01)
    with pytest.raises(TimeoutError, match="own"):
        await scope.guard(times_out(), timeout_s=10)


async def test_scope_waits_until_the_work_has_ended() -> None:
    ended = False

    async def slow_to_die() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.05)
            ended = True

    with pytest.raises(OutOfTime):
        await CancelScope().guard(slow_to_die(), timeout_s=0.01)
    assert ended


def spec_of_tool(name: str, language: str | None = None) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters={}, language=language)


def test_the_prompt_says_what_applies_and_no_more() -> None:
    spec = AgentSpec(model="m", workspace="/w", instructions="  Be brief. ")
    bare = system_prompt(spec, [], "a.csv")
    assert bare == "Be brief."
    full = system_prompt(spec, [spec_of_tool("python", "python"), spec_of_tool("sql", "sql")], "a.csv: day, amount")
    assert full.startswith("Be brief.")
    assert "a.csv: day, amount" in full
    path = [Message(role="system", content=full)]
    assert prompt.shows_data(path)
    assert not prompt.shows_data([Message(role="system", content=bare)])
    assert "workspace" not in system_prompt(spec, [spec_of_tool("look")], "")


def test_the_prompt_is_the_same_each_time() -> None:
    spec = AgentSpec(model="m", workspace="/w")
    assert system_prompt(spec, [spec_of_tool("look")], "x") == system_prompt(spec, [spec_of_tool("look")], "x")


def test_every_limit_has_a_setting_with_the_same_default() -> None:
    assert Limits.from_settings(AgentSettings()) == Limits()
    assert set(Limits.model_fields) <= set(AgentSettings.model_fields)


def test_spec_from_settings(tmp_path: Path) -> None:
    settings = load_settings({"agent": {"max_steps": 3, "seed": 5}, "model": {"default": "smollm2-135m"}})
    spec = AgentSpec.from_settings(settings, workspace=tmp_path, approve="never")
    assert (spec.model, spec.limits.max_steps, spec.sampling.seed, spec.approve) == ("smollm2-135m", 3, 5, "never")
    assert spec.tools == BUILTIN_TOOLS
    assert spec.workspace == str(tmp_path.resolve())
    assert AgentSpec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ConfigError, match="not a folder"):
        AgentSpec.from_settings(settings, workspace=tmp_path / "nowhere")


async def test_threads_are_found_renamed_and_deleted(stage: Stage) -> None:
    one = (await stage.run("Count the apples.\nAll of them.", [turn("3")])).finished
    two = (await stage.run("Count the pears.", [turn("4")])).finished
    assert [t.id for t in await stage.runtime.threads()] == [two.thread_id, one.thread_id]
    assert [t.id for t in await stage.runtime.threads("APPLES count")] == [one.thread_id]
    assert [t.id for t in await stage.runtime.threads(limit=1)] == [two.thread_id]
    assert await stage.runtime.find_thread(one.thread_id[-6:]) == one.thread_id

    await stage.runtime.rename_thread(one.thread_id, "Fruit")
    assert [t.title for t in await stage.runtime.threads("fruit")] == ["Fruit"]
    await stage.runtime.delete_thread(one.thread_id)
    assert [t.id for t in await stage.runtime.threads()] == [two.thread_id]
    with pytest.raises(NotFoundError):
        await stage.runtime.thread_history(one.thread_id)
    with pytest.raises(NotFoundError):
        await stage.runtime.run_events(one.run_id)


async def test_runs_are_listed_newest_first(stage: Stage) -> None:
    one = (await stage.run("One.", [turn("1")])).finished
    two = (await stage.run("Two.", [turn("2", expect="never")], thread_id=one.thread_id)).finished
    assert [run.id for run in await stage.runtime.runs()] == [two.run_id, one.run_id]
    assert [run.id for run in await stage.runtime.runs(status="failed")] == [two.run_id]
    assert [run.id for run in await stage.runtime.runs(thread_id=one.thread_id, limit=1)] == [two.run_id]
    assert stage.runtime.tool_names == BUILTIN_TOOLS
