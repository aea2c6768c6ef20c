import pytest
from textual.color import Color
from textual.theme import Theme

from openhearth.tui.theme import THEMES

# WCAG 2.1: 4.5 for text. Disabled text is exempt there; 2.4 keeps it readable.
READABLE, FAINT = 4.5, 2.4


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("foreground", READABLE),
        ("text-muted", READABLE),
        ("primary", READABLE),
        ("secondary", READABLE),
        ("success", READABLE),
        ("warning", READABLE),
        ("error", READABLE),
        ("text-disabled", FAINT),
    ],
)
@pytest.mark.parametrize("ground", ["background", "surface"])
def test_every_colour_of_text_can_be_read(theme: Theme, name: str, least: float, ground: str) -> None:
    colours = theme.to_color_system().generate()
    assert _contrast(Color.parse(colours[name]), Color.parse(colours[ground])) >= least


def _contrast(one: Color, other: Color) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
