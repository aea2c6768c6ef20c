from textual.content import Content

from openhearth.tui.layout import fit, spread

DOT = Content(" · ")


def test_both_ends_of_a_line_are_used() -> None:
    assert spread(Content("left"), Content("right"), 14).plain == "left     right"


def test_the_left_is_cut_before_the_right_is() -> None:
    line = spread(Content("a long left side"), Content("right"), 14)
    assert line.cell_length == 14
    assert line.plain == "a long…  right"


def test_wide_characters_count_twice() -> None:
    assert spread(Content("日本"), Content("x"), 8).plain == "日本   x"


def test_what_matters_least_is_left_out() -> None:
    parts = [Content("first"), Content("second"), Content("third")]
    assert fit(parts, 100, DOT).plain == "first · second · third"
    assert fit(parts, 20, DOT).plain == "first · second"
    assert fit(parts, 3, DOT).plain == ""
    assert fit(parts, 100, DOT).cell_length == 22
