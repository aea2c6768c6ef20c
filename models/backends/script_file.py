"""Reads a YAML file into a pydantic model and reports every mistake with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from openhearth.errors import ConfigError, ModelUnavailableError

_M = TypeVar("_M", bound=BaseModel)
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """YAML's safe types without dates: tool arguments are JSON, where a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_script_file(file: Path, model: type[_M], *, list_field: str = "turns") -> _M:
    """Parse `file`; a list at the top stands for `{list_field: list}`.

    Raises ModelUnavailableError when it cannot be read, ConfigError naming each mistake and its line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailableError(
            f"Cannot read the script {file}: {getattr(error, 'strerror', None) or error}.",
            hint="A scripted model is named scripted:FILE.yaml, relative to the working folder.",
        ) from error
    try:
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader without dates
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}", hint="Mend the line that is named.") from error
    listed = isinstance(content, list)
    try:
        return model.model_validate({list_field: content} if listed else content)
    except ValidationError as error:
        mistakes = [
            f"line {_line(root, mistake['loc'][1:] if listed else mistake['loc'])}:"
            f" {'.'.join(map(str, mistake['loc'])) or 'the script'}: {mistake['msg']}"
            for mistake in error.errors()
        ]
        raise ConfigError(
            f"{file} is not a script:\n" + "\n".join(mistakes),
            hint="A script is a list of turns with text, calls, match, expect, delay_s, repeat.",
        ) from error


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
