"""Toolsets find tools by name; a wrong name is answered with the nearest."""

from __future__ import annotations

import pytest

from openhearth.errors import ToolError, UnknownToolError
from openhearth.tools.builtin import BUILTIN_TOOLS, builtin_tools
from openhearth.tools.function import tool
from openhearth.tools.toolset import Toolset


@tool
def open_door() -> None:
    """Open the door."""


@tool
def close_door() -> None:
    """Close the door."""


def test_keeps_order_and_finds_by_name() -> None:
    tools = Toolset([open_door, close_door])
    assert [spec.name for spec in tools.specs()] == ["open_door", "close_door"]
    assert tools.get("close_door") is close_door
    assert len(tools) == 2
    assert "open_door" in tools
    assert "window" not in tools


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UnknownToolError) as caught:
        Toolset([open_door, close_door]).get("opendoor")
    assert caught.value.hint == "Did you mean open_door? The tools are: open_door, close_door."


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolError, match="Two tools are called open_door"):
        Toolset([open_door, open_door])


def test_builtin_tools_by_name_and_all() -> None:
    assert tuple(one.spec.name for one in builtin_tools()) == BUILTIN_TOOLS
    assert [one.spec.name for one in builtin_tools(["sql", "read_file"])] == ["sql", "read_file"]
    with pytest.raises(UnknownToolError, match="pyton") as caught:
        builtin_tools(["pyton"])
    assert caught.value.hint.startswith("Did you mean python?")


def test_builtin_annotations_are_honest() -> None:
    annotations = {one.spec.name: one.spec.annotations for one in builtin_tools()}
    reading = {name for name, what in annotations.items() if what.read_only}
    assert reading == {"read_file", "list_files", "search_text", "sql"}
    assert all(what.destructive is not what.read_only for what in annotations.values())
    assert not any(what.network for what in annotations.values())
    assert {name for name, what in annotations.items() if what.idempotent} == reading | {"write_file"}


def test_code_tools_take_fenced_blocks() -> None:
    languages = {one.spec.language: one.spec.source_argument for one in builtin_tools() if one.spec.language}
    assert languages == {"python": "code", "sh": "command", "sql": "query"}


def test_builtin_specs_are_short_and_described() -> None:
    for one in builtin_tools():
        assert 20 < len(one.spec.description) < 120
        assert all(value.get("description") for value in one.spec.parameters["properties"].values())
