from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openhearth.tui.text import (
    ago,
    bar,
    clean,
    clean_line,
    duration,
    head,
    plural,
    routed,
    short_path,
    short_reference,
    speed,
)
from openhearth.types import Routing


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;never ended", ""),
        ("\x1bPdevice\x1b\\text", "text"),
        ("\x1bcreset", "reset"),
        ("bell\x07 back\x08 nul\x00 c1\x9b31m", "bell back nul c131m"),
        ("abc\u202egpj.exe\u2066x", "abcgpj.exex"),
        ("👩\u200d🔬 é", "👩\u200d🔬 é"),
    ],
)
def test_clean_leaves_nothing_that_acts_on_a_terminal(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_clean_line_is_one_short_line() -> None:
    assert clean_line(" a\n\x1b[1mb\t c ") == "a b c"
    assert clean_line("x" * 50, 10) == "x" * 9 + "…"


def test_head_counts_what_it_leaves_out() -> None:
    assert head("a\nb\nc\n", 2) == ("a\nb", 1)
    assert head("a\nb", 5) == ("a\nb", 0)
    assert head("x" * 10, 1, columns=4) == ("xxx…", 0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (0.12, "0.1 s"),
        (59.9, "59.9 s"),
        (60, "1 m 00 s"),
        (125, "2 m 05 s"),
        (3720, "1 h 02 m"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(days=3), "3 d ago"),
        (timedelta(days=40), "2026-02-02"),
    ],
)
def test_how_long_ago(passed: timedelta, expected: str) -> None:
    now = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
    assert ago(now - passed, now) == expected


def test_a_bar_shows_that_something_is_there() -> None:
    assert bar(0, 4) == ("", "────")
    assert bar(0.001, 4) == ("━", "───")
    assert bar(0.5, 4) == ("━━", "──")
    assert bar(7, 4) == ("━━━━", "")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b"),
        ("/models/small.gguf", "small.gguf"),
        ("./folder/", "folder"),
        ("scripted:/tmp/demo.yaml", "scripted:demo.yaml"),
        ("hf:org/name", "hf:org/name"),
        ("http://host:8000/v1#name", "http://host:8000/v1#name"),
    ],
)
def test_a_model_is_named_without_its_folders(reference: str, expected: str) -> None:
    assert short_reference(reference) == expected


def test_speeds() -> None:
    assert [speed(value) for value in (0.5, 14.62, 1161.5)] == ["0.5 tok/s", "14.6 tok/s", "1,162 tok/s"]


def test_plurals() -> None:
    assert [plural(n, "line") for n in (0, 1, 1200)] == ["0 lines", "1 line", "1,200 lines"]


def test_the_home_folder_is_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert short_path(tmp_path / "sales") == "~/sales"
    assert short_path(tmp_path.parent) == str(tmp_path.parent)


def test_a_routers_choice_is_one_line() -> None:
    choice = Routing(route="far", model="http://h:1/v1#m", reason="code: it holds\ncode", passed_over=("small: gone",))
    assert routed(choice) == "→ far (http://h:1/v1#m): code: it holds code; not small: gone"
