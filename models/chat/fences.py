"""Markdown's fenced blocks, as far as CommonMark defines them: how one opens, and where it ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_HEADER = 200
_HEADER = re.compile(r"( {0,3})(`{3,}|~{3,})([^\n]*)(\n?)")
_LANGUAGE = re.compile(r"[\w+#.-]+")


@dataclass(frozen=True, slots=True)
class Fence:
    """An opened block. `language` is the first word after the fence, in lower case; `indent` are the spaces before."""

    header: str
    indent: int
    marks: str
    language: str

    def is_closed_by(self, line: str) -> bool:
        """Whether `line`, without its line break, closes the block."""
        bare = line.strip(" \t\r")
        return (
            len(bare) >= len(self.marks)
            and not bare.strip(self.marks[0])
            and len(line) - len(line.lstrip(" ")) <= max(3, self.indent)
        )

    def could_be_closed_by(self, line: str) -> bool:
        """Whether `line` could still grow into one that closes the block."""
        bare = line.strip(" \t\r")
        return not bare.strip(self.marks[0])

    def outdent(self, body: str) -> str:
        """The block's content as it is meant: without the fence's own indentation."""
        if not self.indent:
            return body
        return re.sub(rf"^ {{1,{self.indent}}}", "", body, flags=re.MULTILINE)


def open_fence(text: str, position: int) -> Fence | bool:
    """The fence that opens at `position`, a line's start; False: none does, True: more text is needed."""
    matched = _HEADER.match(text, position)
    if matched is None:
        return False
    indent, marks, rest, line_break = matched.groups()
    if len(rest) > _MAX_HEADER or (marks[0] == "`" and "`" in rest):
        return False
    if not line_break:
        return True
    language = _LANGUAGE.search(rest.replace("{", " ").strip().split(" ")[0].lower())
    return Fence(matched.group(), len(indent), marks, language.group().lstrip(".") if language else "")
