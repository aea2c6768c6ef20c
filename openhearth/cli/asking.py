"""Puts the question of an approval to the person at the keyboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.syntax import Syntax
from rich.text import Text

from openhearth.cli.console import narration, say
from openhearth.storage.tables import ApprovalRow
from openhearth.tui.text import clean

_YES = {"y", "yes"}
_NO = {"n", "no"}
_LEXERS = {"python": "python", "shell": "bash", "sql": "sql"}


@dataclass(frozen=True, slots=True)
class Decision:
    approve: bool
    reason: str = ""


async def ask(row: ApprovalRow, read_line: Callable[[], Awaitable[str | None]]) -> Decision | None:
    """Show what would happen and wait for an answer; None when `read_line` gives None: the question is left open."""
    console = narration()
    name = clean(str(row.call["name"]))
    if row.in_doubt:
        say(f"{name} was started before, and nobody knows whether it took effect. Run it again?", "bold yellow")
    else:
        say(f"{name} wants to run:", "bold")
    if row.preview:
        text = clean(row.preview).rstrip("\n")
        lexer = _LEXERS.get(name) or ("diff" if text.startswith(("--- ", "+++ ")) else "")
        console.print(Syntax(text, lexer, background_color="default", word_wrap=True) if lexer else Text(text))
    while True:
        console.print(Text("[y]es, [n]o, or the reason why not: ", style="bold"), end="")
        line = await read_line()
        if line is None:
            console.print()
            return None
        answer = line.strip()
        if answer.lower() in _YES:
            return Decision(approve=True)
        if answer.lower() in _NO:
            return Decision(approve=False)
        if len(answer) > 1:
            return Decision(approve=False, reason=answer)
