"""How the outcome of python, shell and sql reads."""

from __future__ import annotations

import re

from openhearth.tools.base import SandboxResult, ToolContext
from openhearth.tools.text import elide, plural
from openhearth.types import ToolOutput

_FENCE = re.compile(r"\s*```[\w-]*[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


def without_fence(source: str) -> str:
    """`source` without a Markdown fence around it, which models put there though nobody asked."""
    fenced = _FENCE.fullmatch(source)
    return fenced.group(1) if fenced else source


def present(result: SandboxResult, context: ToolContext, *, quiet: str) -> ToolOutput:
    """The result as a model reads it. `quiet` is said when all went well and nothing was printed."""
    ok = result.exit_code == 0
    parts = [part for part in (result.stdout.rstrip("\n"), result.stderr.rstrip("\n")) if part]
    note = "\n".join(part for part in (_verdict(result), *(f"[{note}]" for note in result.notes)) if part)
    changed = _changes(result)
    if ok and not parts:
        parts.append(changed or quiet)
    elif changed:
        note = f"{note}\n{changed}" if note else changed
    text, cut = elide("\n".join(parts), max(context.output_limit - len(note) - 1, 200))
    content = "\n".join(part for part in (text, note) if part)
    return ToolOutput(content=content, ok=ok, truncated=cut or result.truncated, changes=result.changes)


def _verdict(result: SandboxResult) -> str:
    if result.timed_out:
        return f"[stopped: it ran longer than {result.duration_s:.0f} s]"
    if result.killed_for:
        return f"[stopped: {result.killed_for}]"
    return f"[exit code {result.exit_code}]" if result.exit_code else ""


def _changes(result: SandboxResult) -> str:
    if not result.changes:
        return ""
    shown = [f"{change.path} {change.kind}" for change in result.changes[:20]]
    more = len(result.changes) - len(shown)
    if more:
        shown.append(plural(more, "more file"))
    return f"[files changed: {', '.join(shown)}]"
