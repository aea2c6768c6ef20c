"""Progress without a terminal: few lines, on stderr."""

from __future__ import annotations

import pytest

from openhearth.cli.console import narration
from openhearth.cli.progress import ProgressDisplay


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    narration.cache_clear()


def test_a_line_at_the_start_and_at_the_end_of_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        for done in range(0, 101):
            progress(f"Downloading x (part {done // 50 + 1} of 2)", done * 10_000, 1_000_000)
        progress("Converting", 1, 2)
        progress("Converting", 2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Downloading x: 0 % of 1 MB",
        "Downloading x: 100 % of 1 MB",
        "Converting: 50 %",
        "Converting: 100 %",
    ]


def test_remarks_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressDisplay()
    progress("The hub cannot be reached.", 0, 0)
    progress("The hub cannot be reached.", 0, 0)
    assert capsys.readouterr().err == "The hub cannot be reached.\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressDisplay(quiet=True)
    progress("Downloading", 1, 2)
    progress("A remark", 0, 0)
    assert capsys.readouterr() == ("", "")
