"""A router file: which models there are, and which requests go to which.

    routes:                            # in this order, after the default, one takes another's place
      - name: small
        model: smollm2-135m            # any reference but a router's; paths are relative to this file
        examples:                      # optional: requests that belong here, for the classifier
          - Say hello in French.
      - name: large
        model: qwen2.5-coder-1.5b
        examples: [Write a function that merges two sorted lists.]
    default: large                     # taken when no rule holds and the classifier is unsure
    rules:                             # optional: the first whose every condition holds decides
      - name: tools
        when: {tools: true}
        route: large
    embedding: minilm                  # optional: the embedding model behind the classifier
    margin: 0.1                        # optional: how far ahead the best route must be, as probabilities

Conditions look at the last message that a person wrote. Tokens are counted as in `scripted.py`, since no model has been
opened yet: words and punctuation marks, of which a model makes a fifth to a third more.

| condition | holds when |
|---|---|
| `matches: REGEX` | the expression is found |
| `words: [a, b]` | one of the words or phrases occurs, whole, in any case |
| `code: true` | it holds a fenced block of code |
| `names_file: true` | it names a file, such as `orders.csv` |
| `longer_than: N` | it has more than N tokens |
| `prompt_longer_than: N` | the whole conversation has more than N tokens |
| `tools: true` | tools are on offer |
| `tool_choice: [required]` | the request's `tool_choice` is one of these (`auto`, `required`, `none`, `tool:NAME`) |
| `structured: true` | the answer must fit a schema |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from openhearth.errors import ConfigError, ModelUnavailableError
from openhearth.models.backends.yaml_file import Mistake, YamlKind, nearest, read_yaml_file
from openhearth.models.reference import anchored_reference, resolve_reference
from openhearth.types import ToolChoice

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Route(_Part):
    """One of the models, and requests that it should answer."""

    name: Annotated[str, Field(pattern=_NAME)]
    model: Annotated[str, Field(min_length=1)]
    examples: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class When(_Part):
    """Conditions that all have to hold; the module's docstring explains each."""

    matches: str | None = None
    words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    code: bool | None = None
    names_file: bool | None = None
    longer_than: Annotated[int, Field(ge=0)] | None = None
    prompt_longer_than: Annotated[int, Field(ge=0)] | None = None
    tools: bool | None = None
    tool_choice: tuple[ToolChoice, ...] = ()
    structured: bool | None = None

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _asks_something(self) -> When:
        if not self.model_fields_set:
            raise ValueError("a rule needs a condition; what no rule takes goes to the default by itself")
        return self


class Rule(_Part):
    """Requests for which `when` holds go to `route`."""

    name: str = ""
    when: When
    route: str


class RouterFile(_Part):
    """A router file's content; the module's docstring explains it."""

    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    default: str
    rules: tuple[Rule, ...] = ()
    embedding: Annotated[str, Field(min_length=1)] = "minilm"
    margin: Annotated[float, Field(ge=0, le=1)] = 0.1

    def route(self, name: str) -> Route:
        return next(route for route in self.routes if route.name == name)

    def order(self, first: str) -> list[str]:
        """All routes: `first`, then those that take its place, one after another."""
        return list(dict.fromkeys([first, self.default, *(route.name for route in self.routes)]))


def read_router_file(file: Path) -> RouterFile:
    """The router in `file`, its models' paths made absolute.

    Raises ModelUnavailableError when it cannot be read, ConfigError naming each mistake and its line.
    """
    kind = YamlKind(
        RouterFile,
        name="router",
        how_to_name="A router is named router:FILE.yaml, relative to the working folder.",
        what_it_holds="A router has routes, default, rules, embedding and margin: see docs/router.md.",
        check=lambda content: _mistakes(content, file.parent),
    )
    content = read_yaml_file(file, kind)
    routes = [
        route.model_copy(update={"model": anchored_reference(route.model, file.parent)}) for route in content.routes
    ]
    return content.model_copy(update={"routes": tuple(routes)})


def _mistakes(content: RouterFile, folder: Path) -> Iterator[Mistake]:
    names: list[str] = []
    for number, route in enumerate(content.routes):
        if route.name in names:
            yield ("routes", number, "name"), f"there is a route {route.name!r} already; names must differ"
        names.append(route.name)
        if mistake := _wrong_model(route.model, folder):
            yield ("routes", number, "model"), mistake
    if content.default not in names:
        yield ("default",), f"there is no route {content.default!r}.{nearest(content.default, names)}"
    for number, rule in enumerate(content.rules):
        if rule.route not in names:
            yield ("rules", number, "route"), f"there is no route {rule.route!r}.{nearest(rule.route, names)}"


def _wrong_model(reference: str, folder: Path) -> str:
    """What is wrong with the reference itself. A model that is not there now may be there when it is needed."""
    if reference.startswith("router:"):
        return "a route cannot lead to another router; name a model"
    try:
        resolve_reference(anchored_reference(reference, folder))
    except ConfigError as error:
        return f"{error.message} {error.hint}"
    except ModelUnavailableError as error:
        is_name = re.fullmatch(r"[\w.-]+", reference) is not None and not reference.endswith(".gguf")
        return f"{error.message} {error.hint}" if is_name else ""
    return ""
