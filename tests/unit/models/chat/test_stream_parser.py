from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openhearth.models.chat.events import Call, CallText, ParseEvent, Syntax, Text
from openhearth.models.chat.parser import StreamParser
from openhearth.types import ToolSpec


def tool(name: str, language: str | None = None) -> ToolSpec:
    return ToolSpec(name=name, description=name, parameters={"type": "object"}, language=language)


TOOLS = (tool("lookup"), tool("read_file"), tool("python", "python"), tool("sql", "sql"))
DATA_TOOLS = TOOLS[:2]


def parse(*pieces: str, tools: tuple[ToolSpec, ...] = TOOLS, truncated: bool = False) -> list[ParseEvent]:
    parser = StreamParser(tools)
    events = [event for piece in pieces for event in parser.feed(piece)]
    events += parser.finish(truncated=truncated)
    if not parser.ended:
        assert parser.unread == ""
    return events


def text_of(events: list[ParseEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def calls_of(events: list[ParseEvent]) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, event.arguments) for event in events if isinstance(event, Call)]


def consumed(events: list[ParseEvent]) -> str:
    return "".join(
        event.source if isinstance(event, Call) else event.text for event in events if not isinstance(event, CallText)
    )


ROME = '{"name": "lookup", "arguments": {"city": "Rome"}}'
CALL = ("lookup", {"city": "Rome"})


@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        ("Hello.", "Hello.", []),
        ("", "", []),
        (f"<tool_call>\n{ROME}\n</tool_call>", "", [CALL]),
        (f"I look.\n<tool_call>\n{ROME}\n</tool_call>\n", "I look.", [CALL]),
        (f"<tool_call>{ROME}</tool_call>\n<tool_call>{ROME}</tool_call>", "", [CALL, CALL]),
        (f"<tool_call>\n{ROME}\n{ROME}\n</tool_call>", "", [CALL, CALL]),
        (f"<tool_call>[{ROME}, {ROME}]</tool_call>", "", [CALL, CALL]),
        (f"<tool_call>\n{ROME}\nThen more.", "\nThen more.", [CALL]),
        (f"<tool_call>\n{ROME}\n<tool_call>\n{ROME}", "", [CALL, CALL]),
        (f"Sure:\n```json\n{ROME}\n```\nDone.", "Sure:\nDone.", [CALL]),
        (f"```\n{ROME}\n```", "", [CALL]),
        (f"```json\n[\n{ROME},\n{ROME}\n]\n```", "", [CALL, CALL]),
        (f"```json\n{ROME}\n{ROME}\n```", "", [CALL, CALL]),
        (f"```json\n{ROME},\n{ROME}\n```", "", [CALL, CALL]),
        (f"```xml\n<tool_call>\n{ROME}\n</tool_call>\n```", "", [CALL]),
        (ROME, "", [CALL]),
        (f"I call {ROME} now.", "I call now.", [CALL]),
        (f"[{ROME}]", "", [CALL]),
        ('{"arguments": {"city": "Rome"}, "name": "lookup"}', "", [CALL]),
        ('{"name": "lookup", "parameters": {"city": "Rome"}}', "", [CALL]),
        ('{\n  "name" : "lookup",\n  "arguments": {\n    "city": "Rome"\n  }\n}', "", [CALL]),
        ('{"name": "lookup"}', "", [("lookup", {})]),
        ('{"name": "lookup", "arguments": "{\\"city\\": \\"Rome\\"}"}', "", [CALL]),
        ('{"name": "forecast", "arguments": {"city": "Rome"}}', "", [("forecast", {"city": "Rome"})]),
        ('<tool_call>{"type": "function", "function": ' + ROME + "}</tool_call>", "", [CALL]),
        ('<tool_call>{"name": "lookup", "arguments": {"city": "</tool_call>"}}</tool_call>', "",
         [("lookup", {"city": "</tool_call>"})]),
        (f"```python\n{ROME}\n```", "", [CALL]),
        ("```python\n[1, 2]\n```", "", [("python", {"code": "[1, 2]"})]),
        # mended
        ('<tool_call>{"name": "lookup", "arguments": {"city": "Rome"}</tool_call>', "", [CALL]),
        ('```json\n{"name": "lookup", "arguments": {"city": "Rome"}\n```', "", [CALL]),
        ('{"name": "lookup", "arguments": {"city": "Rome",},}', "", [CALL]),
        ('{"name": "lookup", "arguments": {"city": "Rome"', "", [CALL]),
        ('{"name": "lookup", "arguments": {"city": """a "b"\nc"""}}', "", [("lookup", {"city": 'a "b"\nc'})]),
        ('{"name": "lookup", "arguments": {"city": "a\nb\\d"}}', "", [("lookup", {"city": "a\nb\\d"})]),
        # code
        ("Let me see.\n```python\nprint(1)\n```\nIt prints 2.", "Let me see.", [("python", {"code": "print(1)"})]),
        ("```py\nx = '''\n```python\n'''\n```", "", [("python", {"code": "x = '''\n```python\n'''"})]),
        ("```python\nprint(1)", "", [("python", {"code": "print(1)"})]),
        ("~~~SQL\nselect 1\n~~~", "", [("sql", {"code": "select 1"})]),
        ("````python\na = '```'\n```\n````", "", [("python", {"code": "a = '```'\n```"})]),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "1. So:", [("python", {"code": "if x:\n    y"})]),
    ],
)  # fmt: skip
def test_calls_are_found(text: str, shown: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    events = parse(text)
    assert text_of(events) == shown
    assert calls_of(events) == calls


@pytest.mark.parametrize(
    "text",
    [
        'An example: {"city": "Rome"}.',
        '```json\n{"city": "Rome"}\n```',
        '```json\n{"name": "Alice", "age": 3}\n```\nThat is all.',
        '{"name": "lookup", "age": 3}',
        '{"name": "lookout point", "height": 3}',
        '{"name": "lookup", "arguments": 3}',
        f"```js\n{ROME}\n```",
        f"```text\n<tool_call>\n{ROME}\n</tool_call>\n```",
        f"Write `{ROME}` to call.",
        "```python print(1)``` inline",
        "```python\n   \n```",
        "```python",
        "```json\n",
        "<tool_call>",
        "<tool_call>\nlookup(Rome)\n</tool_call>",
        '<tool_call>{"name": "lookup", "arguments": {"city": "Ro',
        '{"name": "lookup", "arguments": {"inner": ' + ROME + ', "city": "Ro',
        "<tool_callous> and <tool_ca",
        "a [list] of {things} and [",
        "text with ``` in the middle\n```",
        "  leading and trailing  \n\n",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    events = parse(text)
    assert calls_of(events) == []
    assert text_of(events) == text


@pytest.mark.parametrize(
    "text",
    ["```python\nprint(1)", '{"name": "lookup", "arguments": {"city": "Rome"', '<tool_call>{"name": "lookup"'],
)
def test_a_call_that_was_cut_off_is_text(text: str) -> None:
    events = parse(text, truncated=True)
    assert (calls_of(events), text_of(events)) == ([], text)


def test_without_a_tool_for_the_language_a_code_block_is_text() -> None:
    text = "```python\nprint(1)\n```\nIt prints 1."
    assert text_of(parse(text, tools=DATA_TOOLS)) == text


def test_without_tools_everything_is_text() -> None:
    assert text_of(parse(f"<tool_call>{ROME}</tool_call>", tools=())) == f"<tool_call>{ROME}</tool_call>"


def test_a_call_is_shown_while_it_is_written() -> None:
    parser = StreamParser(TOOLS)
    seen = [event for char in f"Hm. <tool_call>{ROME}" for event in parser.feed(char)]
    shown = [event for event in seen if isinstance(event, CallText)]
    assert len(shown) > 10
    assert {(event.index, event.name) for event in shown} == {(0, "lookup")}
    assert "".join(event.text for event in shown) == ROME


def test_code_is_shown_without_its_fences() -> None:
    parser = StreamParser(TOOLS)
    seen = [event for char in "```python\na = 1\nb = 2\n```" for event in parser.feed(char)]
    assert "".join(event.text for event in seen if isinstance(event, CallText)) == "a = 1\nb = 2\n"
    assert not parser.ended
    assert [type(event) for event in parser.finish()] == [Syntax, Call, Syntax]


def test_what_follows_a_code_call_is_not_read() -> None:
    parser = StreamParser(TOOLS)
    parser.feed("```python\n1\n```\nOutput: 1")
    assert parser.ended
    assert parser.unread == "\nOutput: 1"
    assert parser.feed("more") == []


def test_the_region_tells_where_a_call_is_written() -> None:
    def region(text: str) -> tuple[str, str, bool] | None:
        parser = StreamParser(TOOLS)
        parser.feed(text)
        found = parser.region
        return (found.kind, found.source, found.sure) if found else None

    assert region("text <tool_") == ("marker", "<tool_", False)
    assert region("a < b") is None
    assert region("text\n<tool_call>\n") == ("marker", "<tool_call>", True)
    assert region('<tool_call>\n{"na') == ("marker", '<tool_call>{"na', True)
    assert region('{"name": "') == ("json", '{"name": "', False)
    assert region('```json\n{"name": "lo') == ("json", '{"name": "lo', False)
    assert region('So:\n```json\n{"name": "lo') is None
    assert region('```json\n{"name": "loo') == ("json", '{"name": "loo', False)
    assert region('```json\n{"name": "Lou') is None
    assert region('So: {"name": "lookup", "arguments": {') == ("json", '{"name": "lookup", "arguments": {', True)
    assert region("```json\n" + ROME) is None


FRAGMENTS = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "\n", " ", "```", "```python\n", "```json\n", "```\n", "~~~", "    ", "`",
        ROME, '{"name": "lookup", ', '"arguments": {', '"city": "Rome"', "}", "}}", "{", "[", "]", ",", '"',
        '"""', "\\",
        '{"name": "lo', 'okup"', "text", "é", "<", "<tool", "a [b] {c}", '{"name": "Al', '{"arguments": {',
        "print(1)\n",
        '{"name": "other", "arguments": {', " " * 70, "\n" * 3, "```sql\nselect 1\n```", "<tool_call>\n" + ROME,
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=14).map("".join)


def merged(events: list[ParseEvent]) -> tuple[str, str, list[Call]]:
    calls = [event for event in events if isinstance(event, Call)]
    markup = "".join(event.text for event in events if isinstance(event, Syntax))
    return text_of(events), markup, calls


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.booleans(), st.data())
def test_how_a_text_is_cut_changes_nothing(text: str, truncated: bool, data: st.DataObject) -> None:
    whole = parse(text, truncated=truncated)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert merged(parse(*pieces, truncated=truncated)) == merged(whole)
    assert merged(parse(*text, truncated=truncated)) == merged(whole)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("```python\n" + " " * 70 + "x\n```")
def test_every_cut_in_two_changes_nothing(text: str) -> None:
    whole = merged(parse(text))
    for cut in range(len(text) + 1):
        assert merged(parse(text[:cut], text[cut:])) == whole


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.booleans())
def test_nothing_is_lost_or_invented(text: str, truncated: bool) -> None:
    parser = StreamParser(TOOLS)
    events = [event for char in text for event in parser.feed(char)] + parser.finish(truncated=truncated)
    assert consumed(events) + parser.unread == text
    assert [event.index for event in events if isinstance(event, Call)] == list(range(parser.calls))
    if not parser.calls:
        assert text_of(events) == text


ARGUMENTS = st.dictionaries(
    st.text(max_size=8), st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=30), st.lists)
)
WRAPPERS = st.sampled_from(
    ["<tool_call>\n%s\n</tool_call>", "<tool_call>%s</tool_call>", "```json\n%s\n```", "```\n%s```", "%s"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ARGUMENTS, WRAPPERS, st.booleans()), min_size=1, max_size=3), st.booleans())
def test_well_formed_calls_are_read_exactly(calls: list[tuple[dict[str, Any], str, bool]], with_text: bool) -> None:
    parts = ["Let me look." if with_text else ""]
    for arguments, wrapper, indented in calls:
        source = json.dumps({"name": "lookup", "arguments": arguments}, indent=2 if indented else None)
        parts.append(wrapper.replace("%s", source))
    events = parse("\n".join(parts))
    assert calls_of(events) == [("lookup", arguments) for arguments, _, _ in calls]
    assert text_of(events) == parts[0]
