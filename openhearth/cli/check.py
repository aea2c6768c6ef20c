"""What one check of `hearth doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. A warning leaves `exit_code` 0: agents can work, or will after the first download."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    hint: str = ""
    exit_code: int = 0
