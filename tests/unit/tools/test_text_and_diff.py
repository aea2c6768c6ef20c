"""Text is cut and cleaned without surprises, and diffs stay bounded."""

from __future__ import annotations

import pytest

from openhearth.tools.diff import LARGEST_DIFFED, file_change, large_file_change, unified_diff
from openhearth.tools.text import elide, plural, strip_escapes


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q544e\x1b\\text", "text"),
        ("\x1b(Btext\x1b7", "text"),
        ("\x9b31mred", "red"),
        ("50 %\r100 %\r\n", "50 %\n100 %\n"),
        ("a\x00b\x08c\x7f", "abc"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("half \x1b[", "half "),
        ("grüße 你好 🎉", "grüße 你好 🎉"),
    ],
)
def test_strip_escapes(raw: str, clean: str) -> None:
    assert strip_escapes(raw) == clean


def test_short_text_is_untouched() -> None:
    assert elide("abc", 3) == ("abc", False)


def test_long_text_keeps_head_and_tail_lines() -> None:
    text = "".join(f"{number}\n" for number in range(1_000))
    cut, was_cut = elide(text, 300)
    assert was_cut
    head, _, rest = cut.partition("[… ")
    assert text.startswith(head)
    assert text.endswith(rest.partition("]\n")[2])
    assert len(cut) < 400
    kept = head + rest.partition("]\n")[2]
    assert f"{len(text) - len(kept):,} characters ({1_000 - kept.count(chr(10)):,} lines) left out" in cut


def test_one_long_line_is_cut_too() -> None:
    cut, was_cut = elide("x" * 1_000, 100)
    assert was_cut
    assert cut.startswith("x" * 66 + "\n[… 900 characters")


def test_plural() -> None:
    assert [plural(count, "file") for count in (0, 1, 1_200)] == ["0 files", "1 file", "1,200 files"]


def test_diff_of_text() -> None:
    change = file_change("a.txt", b"one\ntwo\n", b"one\n2")
    assert change.kind == "modified"
    assert change.diff == "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n\\ No newline at end of file\n"


def test_kinds() -> None:
    assert file_change("a", None, b"").kind == "added"
    assert file_change("a", b"", None).kind == "deleted"
    assert large_file_change("a", existed=True, exists=True, size_before=1, size_after=2).kind == "modified"
    assert large_file_change("a", existed=False, exists=True, size_before=0, size_after=2).kind == "added"


def test_binary_files_have_no_diff() -> None:
    assert unified_diff("a", b"\x00\x01", b"text\n") == ""


def test_diffs_are_bounded() -> None:
    long = unified_diff("a", b"", b"x\n" * 5_000)
    assert long.count("\n") < 410
    assert "lines left out" in long
    large = unified_diff("a", b"", b"x" * (LARGEST_DIFFED + 1))
    assert large == f"--- a/a\n+++ b/a\n@@ 0 bytes before, {LARGEST_DIFFED + 1:,} bytes after @@\n"


def test_diffs_hold_no_escapes() -> None:
    assert "\x1b" not in unified_diff("a", b"", b"\x1b[2Jcleared\n")
