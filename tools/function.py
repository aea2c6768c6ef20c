"""`@tool`: a typed function becomes a tool, with a JSON Schema and checked arguments.

    @tool(read_only=True)
    def weather(city: str, days: int = 1) -> str:
        \"\"\"The weather forecast for a city.

        Args:
            city: Name of the city.
            days: How many days ahead.
        \"\"\"

A parameter annotated `ToolContext` is handed the call's context and is not part of the schema.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import functools
import inspect
import logging
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from openhearth.errors import HearthError, InvalidArgumentsError, ToolError
from openhearth.tools.base import ToolContext
from openhearth.tools.docstring import parse_docstring
from openhearth.tools.schema import lean_schema
from openhearth.tools.text import elide
from openhearth.types import ToolAnnotations, ToolOutput, ToolSpec

P = ParamSpec("P")
R = TypeVar("R")
Preview = Callable[[Mapping[str, Any], ToolContext], str | Awaitable[str]]

_log = logging.getLogger(__name__)
_PREFIX = "arg_"  # pydantic refuses field names such as "schema" or "_x"; prefixed fields carry them as aliases


class FunctionTool(Generic[P, R]):
    """A function as a tool. Calling the object calls the function, unchecked."""

    def __init__(self, function: Callable[P, R], spec: ToolSpec, arguments: type[BaseModel], preview: Preview | None):
        self._function = function
        self._spec = spec
        self._arguments = arguments
        self._preview = preview
        self._context_parameter = _context_parameter(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self._spec.name}>"

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments checked and coerced without loss (`"3"` becomes 3). Raises InvalidArgumentsError."""
        return pydantic_core.to_jsonable_python(self._parse(arguments).model_dump(by_alias=True, exclude_unset=True))  # type: ignore[no-any-return]

    async def preview(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """The source that would run, the tool's own preview, or the call written out."""
        if self._preview is not None:
            shown = self._preview(arguments, context)
            return await shown if inspect.isawaitable(shown) else shown
        if self._spec.language:
            return str(arguments.get(self._spec.source_argument, ""))
        written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"{self._spec.name}({written})"

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Run the function, a synchronous one in a thread. Its exceptions become outputs with `ok=False`."""
        values = self._values(arguments)
        if self._context_parameter:
            values[self._context_parameter] = context
        function: Callable[..., Any] = self._function
        try:
            if inspect.iscoroutinefunction(function):
                result = await function(**values)
            else:
                result = await asyncio.to_thread(function, **values)
        except HearthError:
            raise
        except Exception as error:
            _log.info("tool %s failed", self._spec.name, exc_info=True)
            text, truncated = elide(f"{type(error).__name__}: {error}", context.output_limit)
            return ToolOutput(content=text, ok=False, truncated=truncated)
        return _as_output(result, context.output_limit)

    def _parse(self, arguments: Mapping[str, Any]) -> BaseModel:
        try:
            return self._arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise _explain(error, self._spec) from error

    def _values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Python values, so that a parameter annotated with a model or a Path gets one."""
        parsed = self._parse(arguments)
        fields = type(parsed).model_fields
        return {fields[name].alias or name: getattr(parsed, name) for name in parsed.model_fields_set}


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    network: bool = False,
    language: str | None = None,
    preview: Preview | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    network: bool = False,
    language: str | None = None,
    preview: Preview | None = None,
) -> Any:
    """Make a tool of a typed function, synchronous or asynchronous.

    `destructive` and `idempotent` follow `read_only` when they are not given: what only reads destroys nothing and
    may be repeated. A tool with a `language` takes source code in its parameter `code`, or in its first one.
    """
    annotations = ToolAnnotations(
        read_only=read_only,
        destructive=not read_only if destructive is None else destructive,
        idempotent=read_only if idempotent is None else idempotent,
        network=network,
    )

    def make(function: Callable[..., Any]) -> FunctionTool[..., Any]:
        text, notes = parse_docstring(function)
        tool_name = name or function.__name__
        arguments = _arguments_model(function, tool_name, notes)
        schema = lean_schema(arguments)
        source = {}
        if language is not None:
            parameters = list(schema["properties"])
            if not parameters:
                raise ToolError(f"Tool {tool_name} has a language, but no parameter that takes the source code.")
            source = {"source_argument": "code" if "code" in parameters else parameters[0]}
        spec = ToolSpec(
            name=tool_name,
            description=description or text,
            parameters=schema,
            language=language,
            annotations=annotations,
            **source,
        )
        return FunctionTool(function, spec, arguments, preview)

    return make if function is None else make(function)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ToolError(
            f"Tool {function.__name__}: {error}, in an annotation.",
            hint="Define the types of a tool's parameters at the top level of their module.",
        ) from error


def _context_parameter(function: Callable[..., Any]) -> str | None:
    return next((name for name, hint in _hints(function).items() if hint is ToolContext and name != "return"), None)


def _arguments_model(function: Callable[..., Any], tool_name: str, notes: Mapping[str, str]) -> type[BaseModel]:
    hints = _hints(function)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ToolError(
                f"Tool {tool_name}: parameter {name} cannot be given by name.", hint="Write each parameter out."
            )
        if name not in hints:
            raise ToolError(f"Tool {tool_name}: parameter {name} has no type.", hint=f"Write `{name}: str`, say.")
        if hints[name] is ToolContext:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        # A description of None would hide the one that the annotation gives.
        described: dict[str, Any] = {"description": notes[name]} if name in notes else {}
        fields[_PREFIX + name] = (hints[name], Field(default=default, alias=name, **described))
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=False)
    try:
        return create_model(tool_name, __config__=config, **fields)
    except PydanticUserError as error:
        raise ToolError(f"Tool {tool_name}: {error}", hint="Use types that JSON can express.") from error


def _explain(error: ValidationError, spec: ToolSpec) -> InvalidArgumentsError:
    known = list(spec.parameters["properties"])
    problems = [_problem(detail, known) for detail in error.errors(include_url=False)]
    required = set(spec.parameters.get("required", ()))
    shown = ", ".join(name if name in required else f"{name} (optional)" for name in known)
    return InvalidArgumentsError(
        f"Wrong arguments for {spec.name}:\n" + "\n".join(f"- {problem}" for problem in problems),
        hint=f"{spec.name} takes: {shown}." if known else f"{spec.name} takes no arguments.",
    )


def _problem(detail: Any, known: list[str]) -> str:
    place = ".".join(str(part).removeprefix(_PREFIX) for part in detail["loc"]) or "arguments"
    if detail["type"] == "missing":
        return f"{place} is missing"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        return f"{place} is not a parameter" + (f"; did you mean {near[0]}?" if near else "")
    message = detail["msg"]
    return f"{place}: {message[0].lower()}{message[1:]}, got {_short(detail['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _as_output(result: object, limit: int) -> ToolOutput:
    if isinstance(result, ToolOutput):
        content, truncated = elide(result.content, limit)
        return result.model_copy(update={"content": content, "truncated": True}) if truncated else result
    content, truncated = elide(_as_text(result), limit)
    return ToolOutput(content=content, truncated=truncated)


def _as_text(result: object) -> str:
    if result is None:
        return "Done."
    if isinstance(result, str):
        return result
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = dataclasses.asdict(result)
    return pydantic_core.to_json(result, fallback=str).decode()
