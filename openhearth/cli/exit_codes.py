"""How a command ends, as a number for scripts. The only place where errors become exit codes.

0 done · 1 failed · 2 usage · 3 needs a person's decision · 4 budget spent · 5 model unavailable
6 sandbox unavailable · 130 cancelled · 141 the reader of the output went away
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openhearth.events import RunFinished

DONE = 0
FAILED = 1
USAGE = 2
UNDECIDED = 3
BUDGET = 4
MODEL = 5
SANDBOX = 6
CANCELLED = 130
PIPE = 141

_BY_CODE = {
    "config": USAGE,
    "model_unavailable": MODEL,
    "download": MODEL,
    "integrity": MODEL,
    "remote_model": MODEL,
    "malformed_file": MODEL,
    "sandbox_unavailable": SANDBOX,
    "approval_required": UNDECIDED,
    "in_doubt": UNDECIDED,
    "budget": BUDGET,
    "cancelled": CANCELLED,
}


def of_error(code: str) -> int:
    """The exit code for an error's `code`."""
    return _BY_CODE.get(code, FAILED)


def of_run(finished: RunFinished) -> int:
    """The exit code for how a run ended, or why it stands still."""
    match finished.status:
        case "done":
            return DONE
        case "waiting" | "in_doubt":
            return UNDECIDED
        case "cancelled":
            return CANCELLED
        case _:
            return of_error(finished.error.code) if finished.error else FAILED
