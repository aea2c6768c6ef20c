"""Jinja's sandbox, with bounds on work and memory.

Jinja keeps a template from attributes, from anything that changes an object, and from files. Here each render also
has a budget of steps (loop rounds, calls, filters), no value may grow beyond all measure, and the
filters and functions that chat templates have no use for are gone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_MAX_WIDTH = 256
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby", "indent"),
    *("int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "trim"),
    *("unique", "upper"),
)
_WIDENING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})


@dataclass(slots=True)
class Budget:
    """What one render may do. `value` bounds a text's characters, or the items and characters of nested values."""

    steps: int = 200_000
    value: int = 1_000_000


budget: ContextVar[Budget] = ContextVar("budget", default=Budget(0, 0))  # noqa: B039 -- the default allows nothing
"""Set before each render."""


class Refused(TemplateError):
    """The template's own `raise_exception`."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Every loop, call, filter, operator and output of a template passes through here."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag], finalize=_measured
        )
        self.filters = {name: _bounded(name, self.filters[name]) for name in _FILTERS}
        self.filters |= {"tojson": _to_json, "_loop": _metered, "_sized": _measured}
        self.globals = {
            "dict": dict,
            "namespace": self.globals["namespace"],
            "range": self.globals["range"],
            "raise_exception": _refuse,
            "strftime_now": lambda form: datetime.now().strftime(form),
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = Parser(self, source, name, filename).parse()
        return _Metering().visit(tree)  # type: ignore[no-any-return]

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _spend(1)
        _measured(args)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if name in _WIDENING:
            raise SecurityError(f"{name} is not allowed")
        if isinstance(owner, str):
            _check_text_method(owner, name, args)
        return _measured(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("texts are not formatted with % here")
        if operator == "**" and not (abs(left) < 1e6 and abs(right) < 64):
            raise SecurityError("a number is too large")
        if operator == "*" and any(isinstance(value, Sized) for value in (left, right)):
            count = right if isinstance(left, Sized) else left
            if isinstance(count, int):
                _check_size(_size([left, right]) * max(0, count))
        return _measured(super().call_binop(context, operator, left, right))


class _Metering(NodeTransformer):
    """Puts a counter around what loops run over, and a bound on what `~` joins."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_loop", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [nodes.Filter(part, "_sized", [], [], None, None, lineno=node.lineno) for part in node.nodes]
        return nodes.Filter(node, "_sized", [], [], None, None, lineno=node.lineno)


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's part for training; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012 -- Jinja's type

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    # `wraps` also keeps the mark by which Jinja knows that a filter wants the context or the environment.
    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _spend(1)
        values = [value for value in args if not isinstance(value, Context | ImmutableSandboxedEnvironment)]
        _measured(values)
        if values and name in ("replace", "join", "indent"):
            _check_text_filter(name, values, kwargs)
        return _measured(function(*args, **kwargs))

    return guarded


def _check_text_method(owner: str, name: str, args: tuple[Any, ...]) -> None:
    if name == "replace" and len(args) >= 2:
        _check_size(len(owner) + owner.count(str(args[0])) * len(str(args[1])))
    if name == "join" and args and isinstance(args[0], Sized):
        _check_size(_size(args[0]) + len(args[0]) * len(owner))


def _check_text_filter(name: str, values: list[Any], kwargs: Mapping[str, Any]) -> None:
    if name == "replace" and len(values) >= 3:
        _check_text_method(str(values[0]), "replace", (values[1], values[2]))
    if name == "join":
        separator = str(values[1] if len(values) > 1 else kwargs.get("d", ""))
        _check_size(len(separator) * (len(values[0]) if isinstance(values[0], Sized) else 10_000))
    if name == "indent":
        width = values[1] if len(values) > 1 else kwargs.get("width", 4)
        if len(str(width)) > _MAX_WIDTH or (isinstance(width, int) and width > _MAX_WIDTH):
            raise SecurityError("an indentation is too wide")


def _refuse(message: str) -> Any:
    raise Refused(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter it does not escape HTML, which models were not trained on."""
    if isinstance(indent, int) and indent > _MAX_WIDTH:
        raise SecurityError("an indentation is too wide")
    _measured(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _metered(values: Any) -> Any:
    """What a loop runs over, counted."""
    if isinstance(values, Sized):
        _spend(len(values))
        return values
    return _each_metered(values) if isinstance(values, Iterable) else values


def _each_metered(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _spend(1)
        yield value


def _measured(value: Any) -> Any:
    """`value`, if it is not too large to be written out."""
    if isinstance(value, str):
        _check_size(len(value))
    elif isinstance(value, int):
        _check_size(value.bit_length())
    elif isinstance(value, list | tuple | dict):
        _check_size(_size(value))
    return value


def _size(value: Any) -> int:
    """Items and characters of nested values, counted as often as they would be written, up to a little too many."""
    total = 0
    waiting = [value]
    limit = budget.get().value
    while waiting and total <= limit:
        current = waiting.pop()
        total += 1
        if isinstance(current, str):
            total += len(current)
        elif isinstance(current, dict):
            waiting.extend(current)
            waiting.extend(current.values())
        elif isinstance(current, list | tuple):
            total += len(current)
            waiting.extend(current)
    return total


def _check_size(size: int) -> None:
    if size > budget.get().value:
        raise SecurityError("it builds a value beyond all measure")


def _spend(count: int) -> None:
    left = budget.get()
    left.steps -= count
    if left.steps < 0:
        raise SecurityError("it loops for too long")
