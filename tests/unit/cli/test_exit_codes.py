"""Exit codes: each error has one, and only the edge knows them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openhearth import errors
from openhearth.cli import exit_codes
from openhearth.events import RunFinished
from openhearth.types import ErrorInfo

EXPECTED = {
    2: {"config"},
    3: {"approval_required", "in_doubt"},
    4: {"budget"},
    5: {"model_unavailable", "download", "integrity", "remote_model", "malformed_file"},
    6: {"sandbox_unavailable"},
    130: {"cancelled"},
}


def tree(kind: type[errors.HearthError] = errors.HearthError) -> Iterator[type[errors.HearthError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_its_code(kind: type[errors.HearthError]) -> None:
    expected = next((number for number, codes in EXPECTED.items() if kind.code in codes), 1)
    assert exit_codes.of_error(kind.code) == expected


def test_no_code_is_mapped_that_no_error_has() -> None:
    assert set.union(*EXPECTED.values()) <= {kind.code for kind in tree()}


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        ("done", None, 0),
        ("waiting", None, 3),
        ("in_doubt", None, 3),
        ("cancelled", "cancelled", 130),
        ("failed", "budget", 4),
        ("failed", "model", 1),
        ("failed", "internal", 1),
        ("failed", None, 1),
    ],
)
def test_how_a_run_ended(status: str, error: str | None, expected: int) -> None:
    info = ErrorInfo(code=error, title="", message="") if error else None
    finished = RunFinished.model_validate({"run_id": "r", "thread_id": "t", "status": status, "error": info})
    assert exit_codes.of_run(finished) == expected
