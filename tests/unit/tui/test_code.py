from openhearth.tui import code

DIFF = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same"


def test_the_source_of_a_code_tool_is_set_apart() -> None:
    shown = code.arguments("python", {"code": "\nprint(1)\n", "timeout": 5})
    assert (shown.source, shown.language) == ("print(1)", "python")
    assert shown.others == (("timeout", "5"),)
    assert shown.summary == "print(1)"


def test_other_tools_have_arguments_only() -> None:
    shown = code.arguments("search_text", {"query": "a\nb", "paths": ["x"]})
    assert shown.source == ""
    assert shown.summary == 'query a b  paths ["x"]'


def test_arguments_are_cleaned() -> None:
    assert code.arguments("x", {"a\x1b[1m": "b\x07"}).others == (("a", "b"),)


def test_markup_in_code_stays_text() -> None:
    text = "[bold]x[/bold] \x1b[31m"
    assert code.source(text, "python").plain.rstrip() == "[bold]x[/bold]"
    assert code.diff("+[red]x[/red]").plain == "+[red]x[/red]"


def test_an_unknown_language_is_plain() -> None:
    assert code.source("a = 1", "no such language").plain == "a = 1"


def test_a_diff_is_known_by_its_head() -> None:
    assert code.is_diff(DIFF)
    assert not code.is_diff("--- a heading")
    assert code.diff_body(DIFF).startswith("@@ -1 +1 @@")
    assert code.diff_body("not a diff") == "not a diff"


def test_added_and_removed_lines_differ_in_style() -> None:
    content = code.diff(DIFF)
    styles = {content.plain[span.start : span.end]: str(span.style) for span in content.spans}
    assert "$success" in styles["+new"]
    assert "$error" in styles["-old"]
    assert " same" not in styles


def test_a_draft_shows_its_end() -> None:
    shown = code.draft("python", "\n".join(f"line{n}" for n in range(9)), 2)
    assert shown.plain == "…\nline7\nline8"
