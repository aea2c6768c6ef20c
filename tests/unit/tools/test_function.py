"""`@tool`: the schema a model reads, the arguments it may send, and what comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from openhearth.errors import InvalidArgumentsError, ToolError, WorkspaceError
from openhearth.tools.base import SandboxResult, Tool, ToolContext
from openhearth.tools.function import FunctionTool, tool
from openhearth.types import ToolOutput


class Point(BaseModel):
    """A place."""

    title: str
    x: int = 0


class Tree(BaseModel):
    children: list[Tree] = []


@dataclasses.dataclass
class Total:
    amount: float


class NoSandbox:
    name = "none"

    async def run(self, *_: object, **__: object) -> SandboxResult:
        raise AssertionError("no code is run here")


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(tmp_path, NoSandbox(), "run_1", "call_1", "key_1", output_limit=300)


@tool(read_only=True)
def forecast(
    city: str,
    context: ToolContext,
    days: Annotated[int, Field(ge=1, le=14)] = 1,
    unit: Literal["C", "F"] = "C",
    near: Point | None = None,
) -> str:
    """Tell the weather
    of a city.

    More about it that a model need not read.

    Args:
        city: Name of the
            city.
        days (int): How many days: at most 14.

    Returns:
        city: not a parameter.
    """
    return f"{city} {days} {unit} {near!r} {context.call_id}"


def call(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
    return asyncio.run(tool.call(tool.validate(arguments), context))


def test_spec_comes_from_signature_and_docstring() -> None:
    spec = forecast.spec
    assert spec.name == "forecast"
    assert spec.description == "Tell the weather of a city."
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city."},
            "days": {
                "type": "integer",
                "description": "How many days: at most 14.",
                "default": 1,
                "minimum": 1,
                "maximum": 14,
            },
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "near": {
                "type": "object",
                "description": "A place.",
                "properties": {"title": {"type": "string"}, "x": {"type": "integer", "default": 0}},
                "required": ["title"],
            },
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_recursive_type_keeps_its_definition() -> None:
    @tool
    def grow(tree: Tree) -> None:
        """Grow."""

    parameters = grow.spec.parameters
    assert parameters["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert parameters["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_function_without_parameters() -> None:
    @tool
    def now() -> str:
        """The time."""
        return "noon"

    assert now.spec.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    with pytest.raises(InvalidArgumentsError, match="takes no arguments"):
        now.validate({"zone": "UTC"})


def test_annotations_assume_the_worst_unless_told() -> None:
    @tool
    def act() -> None:
        """Act."""

    @tool(destructive=False, idempotent=True, network=True)
    def fetch() -> None:
        """Fetch."""

    assert act.spec.annotations.model_dump() == {
        "read_only": False,
        "destructive": True,
        "idempotent": False,
        "network": False,
    }
    assert forecast.spec.annotations.model_dump() == {
        "read_only": True,
        "destructive": False,
        "idempotent": True,
        "network": False,
    }
    assert fetch.spec.annotations.model_dump() == {
        "read_only": False,
        "destructive": False,
        "idempotent": True,
        "network": True,
    }


def test_language_names_the_source_argument() -> None:
    @tool(language="lua", name="run_lua", description="Run Lua.")
    def run(script: str, level: int = 1) -> str:
        return script

    assert (run.spec.name, run.spec.description) == ("run_lua", "Run Lua.")
    assert (run.spec.language, run.spec.source_argument) == ("lua", "script")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"city": "Oslo"}, {"city": "Oslo"}),
        ({"city": "Oslo", "days": "3"}, {"city": "Oslo", "days": 3}),
        ({"city": 7, "days": 3.0}, {"city": "7", "days": 3}),
        ({"city": "Oslo", "near": None}, {"city": "Oslo", "near": None}),
        ({"city": "Oslo", "near": {"title": "fjord"}}, {"city": "Oslo", "near": {"title": "fjord"}}),
    ],
)
def test_validation_coerces_without_loss(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert forecast.validate(given) == expected


def test_invalid_arguments_list_every_problem() -> None:
    with pytest.raises(InvalidArgumentsError) as caught:
        forecast.validate({"citty": "Oslo", "days": "3.5", "unit": "K", "near": {"x": 1}})
    assert caught.value.message.splitlines() == [
        "Wrong arguments for forecast:",
        "- city is missing",
        "- days: input should be a valid integer, unable to parse string as an integer, got '3.5'",
        "- unit: input should be 'C' or 'F', got 'K'",
        "- near.title is missing",
        "- citty is not a parameter; did you mean city?",
    ]
    assert caught.value.hint == "forecast takes: city, days (optional), unit (optional), near (optional)."


def test_context_is_injected_and_models_are_built(context: ToolContext) -> None:
    output = call(forecast, {"city": "Oslo", "near": {"title": "fjord"}}, context)
    assert output == ToolOutput(content="Oslo 1 C Point(title='fjord', x=0) call_1")


def test_parameters_may_have_names_that_pydantic_reserves(context: ToolContext) -> None:
    @tool
    def odd(schema: str, model_config: int, _hidden: bool = False) -> str:
        """Odd names."""
        return f"{schema} {model_config} {_hidden}"

    assert list(odd.spec.parameters["properties"]) == ["schema", "model_config", "_hidden"]
    assert call(odd, {"schema": "s", "model_config": 1, "_hidden": True}, context).content == "s 1 True"


def test_still_callable_as_the_function(context: ToolContext) -> None:
    assert isinstance(forecast, FunctionTool)
    assert forecast("Oslo", context, days=2).startswith("Oslo 2")


def test_sync_function_runs_in_a_thread(context: ToolContext) -> None:
    @tool
    def where() -> bool:
        """Tell the thread."""
        return threading.current_thread() is threading.main_thread()

    assert call(where, {}, context).content == "false"


async def test_async_function_runs_on_the_loop(context: ToolContext) -> None:
    @tool
    async def where() -> bool:
        """Tell the thread."""
        await asyncio.sleep(0)
        return threading.current_thread() is threading.main_thread()

    assert (await where.call({}, context)).content == "true"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("text", "text"),
        (None, "Done."),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Total(2.5), '{"amount":2.5}'),
        (Point(title="fjord"), '{"title":"fjord","x":0}'),
        (ToolOutput(content="no", ok=False), "no"),
    ],
)
def test_results_become_text(value: object, content: str, context: ToolContext) -> None:
    @tool
    def give() -> Any:
        """Give a value."""
        return value

    assert call(give, {}, context).content == content


def test_long_results_are_cut_in_the_middle(context: ToolContext) -> None:
    @tool
    def write() -> str:
        """Write much."""
        return "".join(f"line {number}\n" for number in range(1_000))

    output = call(write, {}, context)
    assert output.truncated
    assert output.content.startswith("line 0\n")
    assert output.content.endswith("line 999\n")
    assert len(output.content) < context.output_limit + 100


def test_exceptions_of_the_function_are_outputs(context: ToolContext) -> None:
    @tool
    def fail() -> None:
        """Fail."""
        raise ValueError("not today")

    assert call(fail, {}, context) == ToolOutput(content="ValueError: not today", ok=False)


def test_hearth_errors_pass_through(context: ToolContext) -> None:
    @tool
    def fail() -> None:
        """Fail."""
        raise WorkspaceError("outside")

    with pytest.raises(WorkspaceError, match="outside"):
        call(fail, {}, context)


async def test_preview_shows_source_own_preview_or_the_call(context: ToolContext) -> None:
    @tool(language="lua")
    def run(code: str) -> str:
        """Run."""
        return code

    @tool(preview=lambda arguments, context: f"would move to {arguments['place']}")
    def move(place: str) -> None:
        """Move."""

    assert await run.preview({"code": "print(1)"}, context) == "print(1)"
    assert await move.preview({"place": "Oslo"}, context) == "would move to Oslo"
    assert await forecast.preview({"city": "Oslo", "days": 2}, context) == "forecast(city='Oslo', days=2)"


def test_untyped_variadic_and_inexpressible_parameters_are_refused() -> None:
    with pytest.raises(ToolError, match="parameter place has no type"):

        @tool
        def untyped(place) -> None:  # type: ignore[no-untyped-def]
            """No type."""

    with pytest.raises(ToolError, match="parameter places cannot be given by name"):

        @tool
        def variadic(*places: str) -> None:
            """Many."""

    with pytest.raises(ToolError, match="JSON can express"):

        @tool
        def inexpressible(lock: threading.Event) -> None:
            """No JSON."""
