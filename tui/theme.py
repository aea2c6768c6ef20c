"""The look of OpenHearth: embers on charcoal, and ink on warm paper.

Orange marks what is ours (brand, focus, the person's own words), teal what is the machine's (tools, links). State is
never told by colour alone; a word stands beside it.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="hearth-dark",
    dark=True,
    primary="#e5894f",
    secondary="#7fb0a8",
    accent="#f0a868",
    success="#93b87a",
    warning="#e3b860",
    error="#e0705e",
    foreground="#e8dfd3",
    background="#171412",
    surface="#1f1b18",
    panel="#292420",
    variables={
        "text-muted": "#a39686",
        "text-disabled": "#6f655a",
        "border": "#e5894f",
        "border-blurred": "#3a332d",
        "block-cursor-foreground": "#171412",
        "block-cursor-background": "#e5894f",
        "block-cursor-text-style": "none",
        "footer-background": "#171412",
        "footer-foreground": "#a39686",
        "footer-description-foreground": "#a39686",
        "footer-key-foreground": "#e5894f",
        "input-cursor-background": "#e5894f",
        "input-cursor-foreground": "#171412",
        "input-selection-background": "#e5894f 30%",
        "scrollbar": "#3a332d",
        "scrollbar-hover": "#5a4f45",
        "scrollbar-active": "#e5894f",
        "scrollbar-background": "#171412",
        "scrollbar-background-hover": "#171412",
        "scrollbar-background-active": "#171412",
        "button-focus-text-style": "bold underline",
        "link-color": "#7fb0a8",
        "markdown-h1-color": "#f0a868",
        "markdown-h2-color": "#f0a868",
        "markdown-h3-color": "#e5894f",
    },
)

LIGHT = Theme(
    name="hearth-light",
    dark=False,
    primary="#ab4b17",
    secondary="#2d6f68",
    accent="#98430f",
    success="#49702f",
    warning="#8f6206",
    error="#b0352a",
    foreground="#2b2520",
    background="#faf6ef",
    surface="#f3ecdf",
    panel="#e9dfcf",
    variables={
        "text-muted": "#6d6155",
        "text-disabled": "#a3978a",
        "border": "#ab4b17",
        "border-blurred": "#d8cbb8",
        "block-cursor-foreground": "#fffaf2",
        "block-cursor-background": "#ab4b17",
        "block-cursor-text-style": "none",
        "footer-background": "#faf6ef",
        "footer-foreground": "#6d6155",
        "footer-description-foreground": "#6d6155",
        "footer-key-foreground": "#ab4b17",
        "input-cursor-background": "#ab4b17",
        "input-cursor-foreground": "#fffaf2",
        "input-selection-background": "#ab4b17 25%",
        "scrollbar": "#d8cbb8",
        "scrollbar-hover": "#bfae96",
        "scrollbar-active": "#ab4b17",
        "scrollbar-background": "#faf6ef",
        "scrollbar-background-hover": "#faf6ef",
        "scrollbar-background-active": "#faf6ef",
        "button-focus-text-style": "bold underline",
        "link-color": "#2d6f68",
        "markdown-h1-color": "#98430f",
        "markdown-h2-color": "#98430f",
        "markdown-h3-color": "#ab4b17",
    },
)

THEMES = (DARK, LIGHT)
