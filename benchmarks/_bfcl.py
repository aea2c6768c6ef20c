"""Cases of the Berkeley function-calling leaderboard, from the `bfcl-eval` wheel, and its own checker.

    pip install --no-deps bfcl-eval

Nothing of a case is quoted here. Prompts and code are tuned on cases whose id ends in an even number, and on no others.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from openhearth.models.chat.formats import ToolFormat
from openhearth.types import Message, ToolSpec

Calls = list[tuple[str, Mapping[str, Any]]]

CATEGORIES = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_irrelevance",
)
_NAME = "openhearth"
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


@dataclass(frozen=True, slots=True)
class Case:
    """`expected` is what the checker takes; None where no tool applies."""

    id: str
    category: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    functions: Sequence[Mapping[str, Any]]
    expected: Sequence[Mapping[str, Any]] | None

    @property
    def is_even(self) -> bool:
        """Whether it may be tuned on."""
        return int(re.findall(r"\d+", self.id)[-1]) % 2 == 0

    def is_right(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
        """The leaderboard's own judgement; where no tool applies, whether none was called."""
        if self.expected is None:
            return not calls
        written = [{name: dict(arguments)} for name, arguments in calls]
        checker = _checker()
        language = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON
        try:
            found = checker(self.functions, written, self.expected, language, self.category, _NAME)
        except (AttributeError, KeyError, TypeError, ValueError):
            return False  # The checker stumbles over some wrong types.
        return bool(found["valid"])


def load(category: str, *, even: bool | None = True) -> Iterator[Case]:
    """The cases of a category in their order: those of even number, of odd (False), or all (None)."""
    data = _folder() / "data"
    name = f"BFCL_v4_{category}.json"
    answers = data / "possible_answer" / name
    expected = {row["id"]: row["ground_truth"] for row in _rows(answers)} if answers.exists() else {}
    for row in _rows(data / name):
        messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in row["question"][0])
        tools = tuple(_tool(function) for function in row["function"])
        case = Case(row["id"], category, messages, tools, row["function"], expected.get(row["id"]))
        if even is None or case.is_even == even:
            yield case


def read_strictly(text: str, tool_format: ToolFormat) -> Calls:
    """Calls between the family's markers and nowhere else, in JSON that needs no mending."""
    calls: Calls = []
    for part in text.split(tool_format.opener)[1:] if tool_format.opener else [text]:
        inner = part.split(tool_format.closer)[0] if tool_format.closer else part
        try:
            value = json.loads(inner)
        except ValueError:
            continue
        for call in value if isinstance(value, list) else [value]:
            if isinstance(call, dict) and isinstance(call.get(tool_format.arguments_key), dict):
                calls.append((str(call.get("name")), call[tool_format.arguments_key]))
    return calls


def _tool(function: Mapping[str, Any]) -> ToolSpec:
    # The checker lets dots stand as underscores, which is what most APIs ask for.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", function["name"])
    return ToolSpec(name=name, description=function["description"], parameters=_schema(function["parameters"]))


def _schema(value: Any) -> Any:
    """JSON Schema of the leaderboard's own dialect."""
    if isinstance(value, list):
        return [_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _schema(item) for key, item in value.items() if key != "optional"}
    kind = result.get("type")
    if kind == "any":
        del result["type"]
    elif isinstance(kind, str):
        result["type"] = _TYPES.get(kind, kind)
    return result


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _folder() -> Path:
    spec = importlib.util.find_spec("bfcl_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("Not installed: bfcl-eval. Install it with pip install --no-deps bfcl-eval.")
    return Path(spec.origin).parent


def _checker() -> Any:
    """The checker. Of the table of models, which would import every vendor's client, it only asks how names are
    written; so that table is put in its place."""
    name = "bfcl_eval.constants.model_config"
    if name not in sys.modules:
        table = ModuleType(name)
        table.MODEL_CONFIG_MAPPING = {_NAME: SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
        sys.modules[name] = table
    return importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
