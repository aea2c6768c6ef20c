"""Notices a model that makes the same call again and gets the same result again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from openhearth.types import ToolCall, ToolOutput

REMEMBERED = 16
"""Calls that are remembered; a longer cycle is ended by the budget."""


def fingerprint(call: ToolCall, output: ToolOutput) -> str:
    """Equal for equal calls with equal results."""
    text = json.dumps([call.name, call.arguments, output.content, output.ok], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def remember(recent: Sequence[str], call: ToolCall, output: ToolOutput) -> tuple[list[str], int]:
    """The new memory, and how many times this call had this result before.

    A call that changed files is progress: what came before may rightly be tried again.
    """
    mark = fingerprint(call, output)
    known = [] if output.changes else [*recent]
    return [*known, mark][-REMEMBERED:], known.count(mark)
