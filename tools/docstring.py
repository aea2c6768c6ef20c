"""What a function's docstring says about it: a first paragraph, and Google-style `Args:`."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


def parse_docstring(function: Any) -> tuple[str, dict[str, str]]:
    """The first paragraph on one line, and each parameter's description."""
    lines = (inspect.getdoc(function) or "").splitlines()
    paragraph: list[str] = []
    for line in lines:
        if not line.strip() or _SECTION.match(line):
            break
        paragraph.append(line.strip())
    return " ".join(paragraph), _parameters(lines)


def _parameters(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    inside, indent, name = False, 0, ""
    for line in lines:
        section = _SECTION.match(line)
        if section:
            inside, indent, name = section.group(1) in ("Args", "Arguments", "Parameters"), 0, ""
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth == 0:
                inside = False
                continue
            indent = indent or depth
            entry = _ENTRY.match(line.strip()) if depth == indent else None
            if entry:
                name = entry.group(1)
                found[name] = entry.group(2).strip()
            elif name:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found
