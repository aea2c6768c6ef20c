"""Reads a YAML file into a pydantic model and reports every mistake with its line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from openhearth.errors import ConfigError, ModelUnavailableError

M = TypeVar("M", bound=BaseModel)
Mistake = tuple[tuple[str | int, ...], str]
"""Where in the file, as keys and numbers from the top, and what is wrong there."""
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class YamlKind(Generic[M]):
    """A kind of file. A list at its top stands for `{list_field: list}`.

    `check` finds what is wrong between parts that are right by themselves.
    """

    model: type[M]
    name: str
    how_to_name: str
    what_it_holds: str
    list_field: str | None = None
    check: Callable[[M], Iterable[Mistake]] = lambda _: ()


class _Loader(yaml.SafeLoader):
    """YAML's safe types without dates: tool arguments are JSON, where a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml_file(file: Path, kind: YamlKind[M]) -> M:
    """Raises ModelUnavailableError when it cannot be read, ConfigError naming each mistake and its line."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailableError(
            f"Cannot read the {kind.name} {file}: {getattr(error, 'strerror', None) or error}.", hint=kind.how_to_name
        ) from error
    try:
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader without dates
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}", hint="Mend the line that is named.") from error
    listed = isinstance(content, list) and kind.list_field is not None
    try:
        read = kind.model.model_validate({kind.list_field: content} if listed else content)
        mistakes = [*kind.check(read)]
    except ValidationError as error:
        mistakes = [(mistake["loc"], _message(kind.model, mistake["loc"], mistake)) for mistake in error.errors()]
    else:
        if not mistakes:
            return read
    listing = "\n".join(
        f"line {_line(root, where[1:] if listed else where)}:"
        f" {'.'.join(map(str, where)) or f'the {kind.name}'}: {message}"
        for where, message in mistakes
    )
    raise ConfigError(f"{file} is not a {kind.name}:\n{listing}", hint=kind.what_it_holds)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""


def _message(model: type[BaseModel], where: Sequence[str | int], mistake: Any) -> str:
    if mistake["type"] != "extra_forbidden":
        return str(mistake["msg"])
    return f"there is no such key.{nearest(str(where[-1]), _keys(model, where[:-1]))}"


def _keys(model: type[BaseModel], where: Sequence[str | int]) -> Iterable[str]:
    """The keys that the model has at `where`."""
    for step in where:
        if isinstance(step, str) and step in model.model_fields:
            model = next(_models(model.model_fields[step].annotation), model)
    return model.model_fields


def _models(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _line(node: yaml.Node | None, location: Sequence[Any]) -> int:
    """The line (from 1) of the deepest node that `location` still reaches."""
    line = node.start_mark.line + 1 if node is not None else 1
    for step in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == step), None)
            if found is None:
                break
            line = found[0].start_mark.line + 1
            node = found[1]
        else:
            break
    return line
