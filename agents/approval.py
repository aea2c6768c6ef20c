"""When a call waits for a person. What the person decided is a row; nothing here remembers anything.

    ask     everything that is not read-only waits
    auto    everything runs: what comes with OpenHearth is contained by the sandbox and the workspace
    never   what is not read-only is refused, and the model is told

A tool that reaches the network leaves the sandbox, and an address alone can carry data out. So it counts as not
read-only, and waits under `auto` too, unless it is the program's own: whoever handed a Python function over chose
the policy as well.
"""

from __future__ import annotations

from typing import Literal

from openhearth.types import ApprovalPolicy, ToolAnnotations

Ruling = Literal["run", "ask", "refuse"]


def rule(policy: ApprovalPolicy, annotations: ToolAnnotations, *, own: bool) -> Ruling:
    """`own`: the tool was handed over by the program that started the run."""
    leaves = annotations.network and not own
    if annotations.read_only and not leaves:
        return "run"
    if policy == "never":
        return "refuse"
    return "run" if policy == "auto" and not leaves else "ask"
