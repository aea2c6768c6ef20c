"""The file tools as a model uses them: what they answer, and how their errors help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth.errors import ToolError, WorkspaceError
from openhearth.tools.base import SandboxResult, ToolContext
from openhearth.tools.builtin import builtin_tools
from openhearth.tools.builtin import search_text as search_module
from openhearth.tools.toolset import Toolset
from openhearth.types import ToolOutput

Use = Callable[..., ToolOutput]


class NoSandbox:
    name = "none"

    async def run(self, *_: object, **__: object) -> SandboxResult:
        raise AssertionError("file tools run no code")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "data").mkdir(parents=True)
    (root / "data" / "numbers.txt").write_text("".join(f"line {number}\n" for number in range(1, 501)))
    (root / "greet.py").write_text("def greet(name):\n    print('hello', name)\n\n\ngreet('a')\ngreet('b')\n")
    (root / "empty.txt").write_text("")
    (root / "photo.jpg").write_bytes(b"\xff\xd8\x00\x01")
    return root


@pytest.fixture
def context(workspace: Path) -> ToolContext:
    return ToolContext(workspace, NoSandbox(), "run", "call", "key", output_limit=1_000)


@pytest.fixture
def use(context: ToolContext) -> Use:
    tools = Toolset(builtin_tools())

    def call(name: str, **arguments: Any) -> ToolOutput:
        tool = tools.get(name)
        return asyncio.run(tool.call(tool.validate(arguments), context))

    return call


def preview(context: ToolContext, name: str, **arguments: Any) -> str:
    (tool,) = builtin_tools([name])
    return asyncio.run(tool.preview(tool.validate(arguments), context))


def test_read_whole_file(use: Use) -> None:
    assert use("read_file", path="/workspace/greet.py").content.startswith("def greet(name):\n")
    assert use("read_file", path="empty.txt").content == "empty.txt is empty."


def test_read_pages_through_a_long_file(use: Use) -> None:
    first = use("read_file", path="data/numbers.txt")
    assert first.truncated
    last = int(first.content.rsplit("start_line=", 1)[1].rstrip("]"))
    assert first.content.endswith(f"[lines 1 to {last - 1} of 500; go on with start_line={last}]")
    second = use("read_file", path="data/numbers.txt", start_line=last)
    assert second.content.startswith(f"line {last}\n")


def test_read_range(use: Use) -> None:
    output = use("read_file", path="data/numbers.txt", start_line=3, end_line=4)
    assert output.content == "line 3\nline 4\n[lines 3 to 4 of 500]"
    assert not output.truncated
    assert use("read_file", path="data/numbers.txt", start_line=500).content == "line 500\n[lines 500 to 500 of 500]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"path": "data/numbers.txt", "start_line": 501},
            "Line 501 is beyond the end of data/numbers.txt: it has 500 lines",
        ),
        ({"path": "data/numbers.txt", "start_line": 5, "end_line": 4}, "lies before"),
        ({"path": "photo.jpg"}, "binary file of 4 bytes"),
        ({"path": "data"}, "data is a folder"),
        ({"path": "greet"}, "There is no greet"),
    ],
)
def test_read_errors(use: Use, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        use("read_file", **arguments)


def test_read_cuts_one_endless_line(use: Use, workspace: Path) -> None:
    (workspace / "wide.txt").write_text("x" * 3_000_000 + "\nnext\n")
    output = use("read_file", path="wide.txt")
    assert len(output.content) < 1_100
    assert "line cut" in output.content
    assert use("read_file", path="wide.txt", start_line=2).content.startswith("next\n")


def test_read_cleans_what_a_terminal_would_obey(use: Use, workspace: Path) -> None:
    (workspace / "evil.txt").write_bytes(b"\xef\xbb\xbf\x1b[2Jtext \xff\n")
    assert use("read_file", path="evil.txt").content == "text \ufffd\n"


def test_write_creates_replaces_and_reports(use: Use, workspace: Path) -> None:
    output = use("write_file", path="notes/new.md", content="one\ntwo")
    assert output.content == "Created notes/new.md (2 lines)."
    assert output.changes[0].kind == "added"
    output = use("write_file", path="./notes/new.md", content="")
    assert output.content == "Replaced notes/new.md (0 lines)."
    assert (output.changes[0].path, output.changes[0].kind) == ("notes/new.md", "modified")
    assert (workspace / "notes/new.md").read_text() == ""


def test_previews_show_the_diff_and_change_nothing(context: ToolContext, workspace: Path) -> None:
    before = (workspace / "greet.py").read_text()
    shown = preview(context, "edit_file", path="greet.py", old_text="hello", new_text="goodbye")
    assert "-    print('hello', name)\n+    print('goodbye', name)\n" in shown
    assert preview(context, "write_file", path="new/x.md", content="x\n").endswith("+x\n")
    assert (workspace / "greet.py").read_text() == before
    assert not (workspace / "new").exists()


def test_edit_replaces_exactly_one(use: Use, workspace: Path) -> None:
    output = use("edit_file", path="greet.py", old_text="greet('a')", new_text="greet('c')")
    assert output.content.startswith("Changed greet.py in 1 place.\n--- a/greet.py")
    assert output.changes[0].kind == "modified"
    assert "greet('c')\ngreet('b')" in (workspace / "greet.py").read_text()


def test_edit_everywhere(use: Use, workspace: Path) -> None:
    output = use("edit_file", path="greet.py", old_text="greet", new_text="wave", replace_all=True)
    assert output.content.startswith("Changed greet.py in 3 places.")
    assert "greet" not in (workspace / "greet.py").read_text()


def test_edit_says_where_text_is_found_more_than_once(use: Use) -> None:
    with pytest.raises(ToolError, match=r"3 times in greet\.py, in lines 1, 5, 6") as caught:
        use("edit_file", path="greet.py", old_text="greet", new_text="x")
    assert "replace_all" in caught.value.hint


def test_edit_shows_the_nearest_text(use: Use) -> None:
    with pytest.raises(ToolError, match=r"is not in greet\.py") as caught:
        use("edit_file", path="greet.py", old_text="  print('hallo', name)", new_text="x")
    assert caught.value.hint == (
        "The nearest text, from line 1, is exactly:\ndef greet(name):\n    print('hello', name)\n\n"
    )
    with pytest.raises(ToolError) as caught:
        use("edit_file", path="greet.py", old_text="@@@@@@@@@@", new_text="x")
    assert caught.value.hint == "Nothing like it is there; read_file shows the 6 lines."


def test_edit_keeps_line_ends(use: Use, workspace: Path) -> None:
    (workspace / "dos.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    use("edit_file", path="dos.txt", old_text="one\ntwo\n", new_text="1\n2\n")
    assert (workspace / "dos.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "greet.py", "old_text": "", "new_text": "x"}, "old_text is empty"),
        ({"path": "greet.py", "old_text": "x", "new_text": "x"}, "nothing would change"),
        ({"path": "photo.jpg", "old_text": "x", "new_text": "y"}, "not a text file"),
        ({"path": "missing.py", "old_text": "x", "new_text": "y"}, "There is no missing.py"),
    ],
)
def test_edit_errors(use: Use, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        use("edit_file", **arguments)


def test_list(use: Use, workspace: Path) -> None:
    assert use("list_files").content.splitlines() == [
        "data/numbers.txt (4.4 kB)",
        "empty.txt (0 bytes)",
        "greet.py (66 bytes)",
        "photo.jpg (4 bytes)",
    ]
    assert use("list_files", path="data").content == "data/numbers.txt (4.4 kB)"
    assert use("list_files", pattern="*.py").content == "greet.py (66 bytes)"
    assert use("list_files", pattern="*.none").content == "No files."
    for number in range(210):
        (workspace / f"many{number:03d}").touch()
    output = use("list_files", pattern="many*")
    assert output.truncated


def test_search(use: Use) -> None:
    assert use("search_text", pattern=r"line 49\d$").content.splitlines()[0] == "data/numbers.txt:490: line 490"
    assert use("search_text", pattern="HELLO", ignore_case=True).content == "greet.py:2:     print('hello', name)"
    assert use("search_text", pattern="hello", path="greet.py").content.startswith("greet.py:2:")
    assert use("search_text", pattern="hello", files="*.txt").content == "No line matches."
    assert use("search_text", pattern=".", path="photo.jpg").content == "No line matches."


def test_search_stops_at_many_matches(use: Use) -> None:
    output = use("search_text", pattern="line")
    assert output.truncated
    assert output.content.endswith("[stopped at 100 matches; narrow the pattern, or name a file]")


def test_search_explains_a_bad_pattern(use: Use) -> None:
    with pytest.raises(ToolError, match="Bad pattern"):
        use("search_text", pattern="(")


def test_search_ends_a_pattern_that_backtracks_for_ever(
    use: Use, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_TIME_LIMIT_S", 0.3)
    (workspace / "trap.txt").write_text("a" * 5_000 + "b\n")
    started = time.monotonic()
    output = use("search_text", pattern="(a|a?)+$", path="trap.txt")
    assert output.truncated
    assert "use a simpler pattern" in output.content
    assert time.monotonic() - started < 60


def test_nothing_leaves_the_workspace(use: Use, workspace: Path) -> None:
    (workspace / "out").symlink_to("/etc")
    for name, arguments in (
        ("read_file", {"path": "out/passwd"}),
        ("list_files", {"path": "out"}),
        ("search_text", {"pattern": "root", "path": "out/passwd"}),
        ("write_file", {"path": "../x", "content": ""}),
        ("edit_file", {"path": "/etc/passwd", "old_text": "a", "new_text": "b"}),
    ):
        with pytest.raises(WorkspaceError):
            use(name, **arguments)
    assert use("search_text", pattern="root:").content == "No line matches."
