"""JSON Schemas as the decoder enforces them: the tool's own, with bounds where it has none.

A small model can fall into a loop inside a string, a list or an object with free keys, and would then write until the
context is full. What is bounded here is far beyond what calls need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_STRING = 8_000
MAX_ITEMS = 256

_ANY = "hearth_any"
_SUBSCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_SUBSCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_ANNOTATIONS = ("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly")


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with bounds on every string and array; objects that list their properties take no others."""
    result = _bounded(schema)
    if isinstance(result, dict) and f"#/$defs/{_ANY}" in str(result):
        result["$defs"] = {**result.get("$defs", {}), _ANY: _any_value()}
    return result if isinstance(result, dict) else {"type": "object"}


def _bounded(schema: Any) -> Any:
    if schema is True or schema == {}:
        return {"$ref": f"#/$defs/{_ANY}"}
    if not isinstance(schema, Mapping):
        return schema
    result = {key: _part(key, value) for key, value in schema.items() if key not in _ANNOTATIONS}
    if not result:
        return {"$ref": f"#/$defs/{_ANY}"}
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types or []
    if "string" in types and not {"enum", "const", "pattern", "format", "maxLength"} & schema.keys():
        result["maxLength"] = max(MAX_STRING, schema.get("minLength", 0))
    if "array" in types:
        result.setdefault("maxItems", max(MAX_ITEMS, schema.get("minItems", 0)))
        result.setdefault("items", {"$ref": f"#/$defs/{_ANY}"})
    if "object" in types and "additionalProperties" not in schema:
        closed = "properties" in schema and not schema.get("patternProperties")
        result["additionalProperties"] = False if closed else {"$ref": f"#/$defs/{_ANY}"}
    return result


def _part(key: str, value: Any) -> Any:
    if key == "additionalProperties" and value is False:
        return False
    if key in _SUBSCHEMA and not isinstance(value, list):
        return _bounded(value)
    if key in _SUBSCHEMAS and isinstance(value, list):
        return [_bounded(item) for item in value]
    if key in _NAMED and isinstance(value, Mapping):
        return {name: _bounded(item) for name, item in value.items()}
    return value


def _any_value() -> dict[str, Any]:
    itself = {"$ref": f"#/$defs/{_ANY}"}
    return {
        "anyOf": [
            {"type": "string", "maxLength": MAX_STRING},
            {"type": ["number", "boolean", "null"]},
            {"type": "array", "items": itself, "maxItems": MAX_ITEMS},
            {"type": "object", "additionalProperties": itself},
        ]
    }
