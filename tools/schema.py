"""JSON Schemas that a small model can read: no titles, no indirection, no noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_DEFINITIONS = "$defs"
_REFERENCE = "$ref"


def lean_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of `model` without titles and with definitions put where they are used.

    A parameter that may be left out (its default is None) is shown with its plain type. Recursive types keep
    their `$defs`.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Any] = schema.pop(_DEFINITIONS, {})
    recursive = {name for name in definitions if _reaches(name, name, definitions, set())}
    lean: dict[str, Any] = _lean(schema, definitions, recursive)
    ordered = {"type": "object", "properties": lean.get("properties", {})}
    if "required" in lean:
        ordered["required"] = lean["required"]
    ordered["additionalProperties"] = False
    if recursive:
        ordered[_DEFINITIONS] = {name: _lean(definitions[name], definitions, recursive) for name in sorted(recursive)}
    return ordered


def _lean(node: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if isinstance(node, list):
        return [_lean(item, definitions, recursive) for item in node]
    if not isinstance(node, dict):
        return node
    name = _referred(node)
    if name is not None and name not in recursive:
        beside = {key: value for key, value in node.items() if key != _REFERENCE}
        return _lean({**definitions[name], **beside}, definitions, recursive)
    lean: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            # Here the keys are names: a property may well be called "title".
            lean[key] = {name: _lean(inner, definitions, recursive) for name, inner in value.items()}
        elif key in ("default", "const", "enum", "examples"):
            lean[key] = value
        elif key != "title":
            lean[key] = _lean(value, definitions, recursive)
    return _without_null(lean)


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    if not ("default" in node and node["default"] is None):
        return node
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
    if len(options) == 1:
        return {**options[0], **rest}
    return {"anyOf": options, **rest} if options else rest


def _referred(node: Mapping[str, Any]) -> str | None:
    reference = node.get(_REFERENCE)
    return reference.rsplit("/", 1)[-1] if isinstance(reference, str) else None


def _reaches(start: str, goal: str, definitions: Mapping[str, Any], seen: set[str]) -> bool:
    for name in _references(definitions[start]):
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            if _reaches(name, goal, definitions, seen):
                return True
    return False


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node))
    if not isinstance(node, dict):
        return set()
    name = _referred(node)
    return ({name} if name else set()).union(*(_references(value) for value in node.values()))
