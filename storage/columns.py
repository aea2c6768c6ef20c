"""Column types that behave the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

__all__ = ["JSON", "CleanText", "String", "UtcDateTime", "dump_json", "utc_now"]


# `json.dumps` would make one of these each time.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def utc_now() -> datetime:
    return datetime.now(UTC)


def dump_json(value: Any) -> str:
    """Compact JSON that every database accepts: lone surrogates, which no UTF-8 text can hold, become `?`."""
    return _clean(_ENCODER.encode(value))


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime. It is stored in UTC and comes back in UTC; a naive one is an error."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Text of any length from anywhere: lone surrogates and NUL, which databases refuse, become `?`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _clean(value).replace("\0", "?")


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
