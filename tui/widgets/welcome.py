"""What an empty thread shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from openhearth.tui.text import clean_line
from openhearth.types import ApprovalPolicy

_POLICIES: dict[ApprovalPolicy, str] = {
    "ask": "asks before anything that is not read-only",
    "auto": "runs tools in the sandbox without asking",
    "never": "refuses everything that is not read-only",
}


class Welcome(Static):
    """Where the agent works, with what, and what it may do unasked."""

    def __init__(self, *, model: str, workspace: str, approve: ApprovalPolicy) -> None:
        rows = (("model", model), ("workspace", workspace), ("approval", _POLICIES[approve]))
        lines = [Content("What shall we do?").stylize("bold $primary"), Content()]
        for name, value in rows:
            lines.append(Content.assemble((f"{name:<11}", "$text-disabled"), (clean_line(value), "$text-muted")))
        super().__init__(Content("\n").join(lines))
