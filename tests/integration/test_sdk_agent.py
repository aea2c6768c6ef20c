"""The SDK as a program uses it: synchronous, asynchronous, typed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from openhearth import Agent, RunResult, tool
from openhearth.agents.spec import Limits
from openhearth.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    CancelledError,
    ConfigError,
    HearthError,
    ModelError,
    ModelUnavailableError,
    NotFoundError,
)
from openhearth.events import RunFinished, RunStarted, TextDelta
from openhearth.models.backends.scripted import ScriptedCall, ScriptedModel, ScriptedTurn
from openhearth.types import Sampling


@tool(read_only=True)
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def calling(name: str, **arguments: Any) -> ScriptedTurn:
    return ScriptedTurn(calls=(ScriptedCall(name=name, arguments=arguments),))


def saying(text: str, **more: Any) -> ScriptedTurn:
    return ScriptedTurn(text=text, **more)


DOUBLING = ScriptedModel([calling("double", number=4), saying("It is 8.", expect="8")])


class Answer(BaseModel):
    """An answer."""

    value: int
    unit: str = ""


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent("Be brief.", model=DOUBLING, tools=[double]) as opened:
        yield opened


def test_run_gives_a_whole_result(agent: Agent) -> None:
    result = agent.run("Twice 4?")
    assert (result.status, result.output) == ("done", "It is 8.")
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]
    assert (result.steps, result.tool_calls) == (2, 1)
    assert result.usage.completion_tokens > 0
    assert result.duration_s > 0
    assert result.raise_for_status() is result


def test_a_thread_goes_on(agent: Agent) -> None:
    first = agent.run("Twice 4?")
    second = agent.run("Again?", thread=first.thread_id)
    assert second.thread_id == first.thread_id
    assert second.run_id != first.run_id
    assert len(second.messages) == 4, "those of this run"


async def test_sync_run_works_inside_a_running_loop(agent: Agent) -> None:
    assert agent.run("Twice 4?").output == "It is 8."


async def test_async_run_and_stream_share_the_callers_loop() -> None:
    loops = set()

    @tool(read_only=True)
    async def where() -> str:
        """Where am I?"""
        loops.add(asyncio.get_running_loop())
        return "here"

    model = ScriptedModel([calling("where"), saying("Here.")])
    async with Agent(model=model, tools=[where]) as agent:
        assert (await agent.arun("Where?")).output == "Here."
        events = [event async for event in agent.stream("Where?")]
    assert loops == {asyncio.get_running_loop()}
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Here."


async def test_runs_of_one_agent_may_overlap() -> None:
    model = ScriptedModel([saying("a b c d", delay_s=0.2)])
    async with Agent(model=model) as agent:
        results = await asyncio.gather(*(agent.arun(f"Task {number}") for number in range(4)))
    assert {result.output for result in results} == {"a b c d"}
    assert len({result.thread_id for result in results}) == 4


def test_threads_of_a_program_may_share_an_agent(agent: Agent) -> None:
    outputs: list[str] = []
    workers = [threading.Thread(target=lambda: outputs.append(agent.run("Twice 4?").output)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert outputs == ["It is 8."] * 3


def test_typed_output_without_tools_is_one_round() -> None:
    with Agent(model=ScriptedModel([saying('{"value": 8, "unit": "m"}')]), output_type=Answer) as agent:
        result: RunResult[Answer] = agent.run("How long?")
    assert result.parsed == Answer(value=8, unit="m")
    assert result.steps == 1


def test_typed_output_after_tools_is_a_round_of_its_own() -> None:
    model = ScriptedModel([*DOUBLING.script.turns, saying('```json\n{"value": 8}\n```', expect="final answer")])
    with Agent(model=model, tools=[double], output_type=Answer) as agent:
        result = agent.run("Twice 4?").raise_for_status()
    assert result.parsed == Answer(value=8)
    assert result.steps == 3


def test_an_answer_that_does_not_fit_is_an_error_that_keeps_the_text() -> None:
    with Agent(model=ScriptedModel([saying("eight")]), output_type=Answer) as agent:
        result = agent.run("How long?")
    assert (result.status, result.output, result.parsed) == ("failed", "eight", None)
    with pytest.raises(ModelError, match="no Answer"):
        result.raise_for_status()


def test_approval_in_a_program() -> None:
    sent: list[str] = []

    @tool
    def send(text: str) -> str:
        """Send a text."""
        sent.append(text)
        return "sent"

    model = ScriptedModel([calling("send", text="hi"), saying("Done.")])
    with Agent(model=model, tools=[send], approve="ask") as agent:
        waiting = agent.run("Greet.")
        assert (waiting.status, sent) == ("waiting", [])
        (question,) = waiting.questions
        with pytest.raises(ApprovalRequiredError, match="send"):
            waiting.raise_for_status()
        agent.decide(question.approval_id, approve=True, arguments={"text": "hello"})
        assert agent.resume(waiting.run_id).raise_for_status().output == "Done."
    assert sent == ["hello"]


@pytest.mark.parametrize(
    ("turns", "limits", "kind"),
    [
        ([saying("a b c d")], Limits(max_tokens=5), BudgetExceededError),
        ([saying("a", expect="nothing of the kind")], Limits(), ModelError),
    ],
)
def test_raise_for_status_raises_the_error_that_ended_the_run(
    turns: list[ScriptedTurn], limits: Limits, kind: type[HearthError]
) -> None:
    with Agent(model=ScriptedModel(turns), limits=limits) as agent:
        result = agent.run("Go.")
        assert result.status == "failed"
        with pytest.raises(kind):
            result.raise_for_status()


async def test_cancelling_arun_cancels_the_run() -> None:
    async with Agent(model=ScriptedModel([saying("a b c d e f g", delay_s=20)])) as agent:
        task = asyncio.create_task(agent.arun("Slowly."))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async for event in agent.stream("Slowly."):
            if isinstance(event, RunFinished):
                break
            agent_runtime = await agent._runtime()
            agent_runtime.cancel(event.run_id)
        (_, cancelled) = await agent_runtime.runs()
    assert isinstance(event, RunFinished)
    assert (event.status, cancelled.status) == ("cancelled", "cancelled")


def test_result_of_a_cancelled_run_raises_cancelled() -> None:
    result: RunResult[BaseModel] = RunResult(output="", status="cancelled", run_id="run_x", thread_id="thr_x")
    with pytest.raises(CancelledError):
        result.raise_for_status()


def test_mistakes_are_explained(tmp_path: Path) -> None:
    def bare(number: int) -> int:
        return number

    with pytest.raises(ConfigError, match="bare is not a tool") as caught:
        Agent(model=DOUBLING, tools=[bare])  # type: ignore[list-item]
    assert "@tool" in caught.value.hint
    with pytest.raises(ConfigError, match="not a folder"):
        Agent(model=DOUBLING, workspace=tmp_path / "nowhere")
    with Agent(model=DOUBLING, tools=["pyton"]) as agent, pytest.raises(ConfigError, match="pyton") as misspelt:
        agent.run("?")
    assert "python" in misspelt.value.hint
    with Agent(model="scripted:nowhere.yaml") as agent, pytest.raises(ModelUnavailableError):
        agent.run("?")
    with Agent(model=DOUBLING) as agent, pytest.raises(NotFoundError):
        agent.run("?", thread="thr_nobody")


def test_given_sampling_and_limits_win() -> None:
    agent = Agent(
        model=DOUBLING, sampling=Sampling(temperature=0.7, seed=3), limits=Limits(max_steps=2), name="doubler"
    )
    assert (agent.spec.sampling.seed, agent.spec.limits.max_steps, agent.spec.name) == (3, 2, "doubler")


def test_a_model_reference_is_opened_once_for_all_agents_of_a_loop(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- text: Hello.\n  repeat: true\n")
    with Agent(model=f"scripted:{script}") as one, Agent(model=f"scripted:{script}") as two:
        assert one.run("Hi.").output == two.run("Hi.").output == "Hello."
        script.unlink()
        assert one.run("Hi.").output == "Hello."


def run_program(source: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(source))
    return subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_program_that_closes_nothing_ends_cleanly(tmp_path: Path) -> None:
    done = run_program(
        """
        from openhearth import Agent
        from openhearth.models.backends.scripted import ScriptedModel, ScriptedTurn
        print(Agent(model=ScriptedModel([ScriptedTurn(text="Hello.")])).run("Hi.").output)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello.\n", "")


def test_ctrl_c_cancels_the_run(tmp_path: Path) -> None:
    done = run_program(
        """
        import os, signal, threading
        from openhearth import Agent
        from openhearth.models.backends.scripted import ScriptedModel, ScriptedTurn
        agent = Agent(model=ScriptedModel([ScriptedTurn(text="a b c d e", delay_s=60)]))
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            agent.run("Slowly.")
        except KeyboardInterrupt:
            from openhearth.agents import hosting
            print("interrupted")
        async def statuses():
            runtime = await agent._runtime()
            return [run.status for run in await runtime.runs()]
        print(hosting.LoopThread.get().run(statuses()))
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n['cancelled']\n", "")
