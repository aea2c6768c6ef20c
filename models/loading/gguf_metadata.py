"""Typed look-ups in a GGUF file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openhearth.errors import MalformedFileError


class Metadata:
    """A missing or wrongly typed value is a MalformedFileError that names the key."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "one whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        # The file holds float32; its shortest decimal is the number that was meant (1e-06, not 9.999999974752427e-07).
        return float(str(np.float32(value)))

    def optional_real(self, key: str) -> float | None:
        """None also for zero, by which files say that there is none."""
        return self.real(key, default=0.0) or None

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def strings(self, key: str) -> list[str]:
        value = self._get(key, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "an array of strings")
        return value

    def numbers(self, key: str, count: int) -> np.ndarray[Any, np.dtype[Any]] | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or len(value) != count:
            raise self.wrong(key, f"an array of {count} numbers")
        return value

    def token(self, key: str, vocabulary: int) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocabulary:
            raise self.wrong(key, f"a token id below {vocabulary}")
        return value

    def wrong(self, key: str, wanted: str) -> MalformedFileError:
        return MalformedFileError(f"{self.path}: the metadata's {key} is not {wanted}.", hint="Fetch the file again.")

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise MalformedFileError(f"{self.path}: the metadata lacks {key}.", hint="Fetch the file again.")
        return value
