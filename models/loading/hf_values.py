"""Typed look-ups in the JSON files of a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

from openhearth.errors import MalformedFileError, ModelUnavailableError

_MAX_JSON_BYTES = 64 << 20


class NotOurs(ModelUnavailableError):
    """A model that the engine's own decoder does not run; transformers may."""


class Values:
    """Look-ups that name the file and the key when they fail. JSON's null counts as missing, and what is missing and
    has no default is an error."""

    def __init__(self, file: Path, raw: dict[str, Any]) -> None:
        self.file = file
        self.raw = raw

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if not _is_whole(value):
            raise self.wrong(key, "a whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        try:
            return float(value)
        except OverflowError as error:
            raise self.wrong(key, "a number that a float can hold") from error

    def optional_real(self, key: str) -> float | None:
        return None if self.raw.get(key) is None else self.real(key)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def wholes(self, key: str) -> list[int] | None:
        value = self.raw.get(key)
        if value is not None and not (isinstance(value, list) and all(map(_is_whole, value))):
            raise self.wrong(key, "a list of whole numbers")
        return value

    def texts(self, key: str) -> list[str] | None:
        value = self.raw.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.wrong(key, "a list of texts")
        return value

    def inner(self, key: str) -> Values:
        """The object under `key`."""
        value = self.raw.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Values(self.file, value)

    def wrong(self, key: str, wanted: str) -> MalformedFileError:
        return MalformedFileError(f"{self.file}: {key} is not {wanted}.", hint="Fetch the file again.")

    def not_ours(self, what: str) -> NotOurs:
        return NotOurs(f"{self.file}: {what} is not supported.", hint="Choose another model of the family.")

    def _get(self, key: str, default: Any) -> Any:
        value = self.raw.get(key)
        if value is not None:
            return value
        if default is None:
            raise MalformedFileError(f"{self.file} lacks {key}.", hint="Fetch the file again.")
        return default


def _is_whole(value: object) -> TypeGuard[int]:
    """JSON's whole numbers may have any length; those here can be reckoned with."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 1 << 53


def read_json(file: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object; an empty one when the file may be missing and is. Raises MalformedFileError."""
    if not file.is_file():
        if optional:
            return {}
        raise ModelUnavailableError(f"There is no {file}.", hint="Fetch it from where the weights came from.")
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise MalformedFileError(f"{file} is larger than {_MAX_JSON_BYTES} bytes.", hint="Fetch the file again.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedFileError(f"{file} is not valid JSON: {error}", hint="Fetch the file again.") from error
    if not isinstance(content, dict):
        raise MalformedFileError(f"{file} does not hold a JSON object.", hint="Fetch the file again.")
    return content
