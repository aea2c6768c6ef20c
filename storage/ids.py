"""Identifiers: `run_0a1b2c3d4e5f6g7h`, a kind and 16 characters that sort by time.

Nine characters count milliseconds since 2025 and seven are random, in Crockford's base 32 (no i, l, o, u), lower
case. Within a process they strictly increase. For typing, any unique beginning or ending will do (`lookup`).
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import Literal

Kind = Literal["thr", "run", "msg", "apr"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH_MS = 1_735_689_600_000
_TIME_CHARS = 9
_RANDOM_CHARS = 7
_RANDOM_BITS = 5 * _RANDOM_CHARS

_lock = threading.Lock()
_last = 0


def new_id(kind: Kind) -> str:
    """A new identifier, greater than any that this process made before."""
    global _last
    now = (time.time_ns() // 1_000_000 - _EPOCH_MS) << _RANDOM_BITS
    with _lock:
        # A clock that stands still or steps back must not break the order.
        _last = max(now | secrets.randbits(_RANDOM_BITS), _last + 1)
        value = _last
    return f"{kind}_{_encode(value, _TIME_CHARS + _RANDOM_CHARS)}"


def _encode(value: int, length: int) -> str:
    return "".join(_ALPHABET[value >> 5 * place & 31] for place in range(length - 1, -1, -1))
