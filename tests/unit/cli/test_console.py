"""What goes to stdout: data, the same byte for byte however it is looked at."""

from __future__ import annotations

import pytest

from openhearth.cli.console import narration, write, write_facts, write_json, write_table
from openhearth.cli.edge import report


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    narration.cache_clear()


def test_a_pipe_gets_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write("a\x1b[31mb\n\n")
    assert capsys.readouterr().out == "a\x1b[31mb\n"


def test_a_table_in_a_pipe_is_fields_and_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("name", "title"), [("a", "one\ttwo\nthree"), ("b", "")])
    assert capsys.readouterr().out == "a\tone two three\nb\t\n"


def test_facts_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write_facts({"a": 1, "none": None, "long": "x\ny"})
    assert capsys.readouterr().out == "a:    1\nlong: x\n      y\n"


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"text": "ä\n"})
    assert capsys.readouterr().out == '{"text": "ä\\n"}\n'


def test_an_error_is_told_on_stderr_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    report("Not found", "No [bold]thing[/] is called x.", "Look again.\nOr not.")
    assert capsys.readouterr() == ("", "Not found: No [bold]thing[/] is called x.\n  Look again.\n  Or not.\n")
