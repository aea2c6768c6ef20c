"""Every family's way to write calls: written, read back in pieces, held to its grammar, and found by the template."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.babble import LOAD, LOOKUP, Babble, fits

from openhearth.errors import ModelUnavailableError
from openhearth.models.chat.events import Call, CallText, ParseEvent, Text
from openhearth.models.chat.formats import ToolFormat, detect_format, get_format
from openhearth.models.chat.parser import StreamParser
from openhearth.models.chat.prompt import PromptWriter
from openhearth.models.chat.template import ChatTemplate
from openhearth.types import Message, ModelRequest, ToolCall

NAMES = ("granite", "hermes", "llama3", "mistral", "mistral-named", "phi", "plain")
FORMATS = [*map(get_format, NAMES), replace(get_format("mistral"), before=" ")]
every_format = pytest.mark.parametrize(
    "tool_format", FORMATS, ids=lambda f: f.name + ("-spaced" if f.before == " " else "")
)

TOOLS = (LOOKUP, LOAD)
ARGUMENTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
CALLS = st.lists(st.tuples(st.sampled_from(["lookup", "load"]), ARGUMENTS), min_size=1, max_size=3)


def parse(tool_format: ToolFormat, *pieces: str) -> list[ParseEvent]:
    parser = StreamParser(TOOLS, tool_format=tool_format)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.finish()]


def calls_of(events: list[ParseEvent]) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, event.arguments) for event in events if isinstance(event, Call)]


def text_of(events: list[ParseEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def consumed(events: list[ParseEvent]) -> str:
    kept = [event for event in events if not isinstance(event, CallText)]
    return "".join(event.source if isinstance(event, Call) else event.text for event in kept)


def as_calls(pairs: list[tuple[str, dict[str, Any]]]) -> list[ToolCall]:
    return [ToolCall(id=f"c{at}", name=name, arguments=arguments) for at, (name, arguments) in enumerate(pairs)]


@every_format
@settings(max_examples=40, deadline=None)
@given(pairs=CALLS)
def test_what_is_written_is_read_back(tool_format: ToolFormat, pairs: list[tuple[str, dict[str, Any]]]) -> None:
    written = tool_format.write_calls(as_calls(pairs))
    events = parse(tool_format, written)
    assert calls_of(events) == pairs
    assert not text_of(events).strip()
    assert consumed(events) == written


@every_format
@settings(max_examples=15, deadline=None)
@given(pairs=CALLS)
def test_how_it_is_cut_changes_nothing(tool_format: ToolFormat, pairs: list[tuple[str, dict[str, Any]]]) -> None:
    written = "Let me see.\n" + tool_format.write_calls(as_calls(pairs))
    for at in range(len(written) + 1):
        events = parse(tool_format, written[:at], written[at:])
        assert calls_of(events) == pairs
        assert text_of(events).strip() == "Let me see."
    assert calls_of(parse(tool_format, *written)) == pairs


@every_format
def test_half_a_marker_is_never_shown(tool_format: ToolFormat) -> None:
    parser = StreamParser(TOOLS, tool_format=tool_format)
    shown = ""
    for piece in "Well. " + tool_format.write_calls(as_calls([("lookup", {"city": "Rome"})])):
        shown += text_of(parser.feed(piece))
        assert "Well.".startswith(shown.strip())
    assert shown.strip() == "Well."


@every_format
def test_a_marker_in_prose_is_no_call(tool_format: ToolFormat) -> None:
    for marker in tool_format.markers:
        prose = f"Calls begin with {marker} or so they say."
        assert text_of(parse(tool_format, prose)) == prose
        assert text_of(parse(tool_format, f"It ends with {marker}")) == f"It ends with {marker}"


@every_format
@pytest.mark.parametrize("markers", [True, False])
def test_an_opened_call_parses_and_fits(tool_format: ToolFormat, markers: bool) -> None:
    opener = tool_format.opener or '{"name": "loo'
    for said in (opener, f"Let me see.\n{opener}"):
        for seed in range(4):
            reply = Babble(said, seed=seed, markers=markers, tool_format=tool_format, tools=TOOLS).run(limit=2_000)
            assert reply.calls(), reply.text
            for name, arguments in reply.calls():
                assert fits(arguments) if name == "lookup" else arguments == {}


@every_format
def test_a_required_call_is_laid_out_as_the_family_does(tool_format: ToolFormat) -> None:
    for seed in range(4):
        reply = Babble(seed=seed, tool_format=tool_format, tools=(LOAD,), tool_choice="required").run()
        assert reply.calls()[0] == ("load", {})
        assert tool_format.opener in reply.text if tool_format.marked else reply.text.startswith("{")
        if not tool_format.array:
            usual = tool_format.write_calls([ToolCall(id="c", name="load", arguments={})])
            turned = usual.replace(
                f'"name": "load", "{tool_format.arguments_key}": {{}}',
                f'"{tool_format.arguments_key}": {{}}, "name": "load"',
            )
            assert reply.text in (usual, turned)


@every_format
def test_tools_are_offered_with_their_schema(tool_format: ToolFormat) -> None:
    text = tool_format.describe_tools(TOOLS)
    assert json.dumps(LOOKUP.parameters) in text
    assert '"name": "load"' in text
    assert "{tools}" not in text
    assert "42" in tool_format.write_result("42")


@pytest.mark.parametrize(
    ("template", "added", "name"),
    [
        ("{{ '<tool_call>' }}", (), "hermes"),
        ("no tools", ("<tool_call>", "</tool_call>"), "hermes"),
        ("{{ '[TOOL_CALLS][' }}", (), "mistral"),
        ("{{ '[TOOL_CALLS]' ~ name ~ '[ARGS]' }}", (), "mistral-named"),
        ("x", ("[TOOL_CALLS]", "[ARGS]"), "mistral-named"),
        ("{{ '<|tool_call|>' }}", (), "granite"),
        ("x", ("<|tool_call|>", "<|/tool_call|>"), "phi"),
        ("{{ '<|python_tag|>' }}", (), "llama3"),
        ("<start_of_turn>", (), "plain"),
    ],
)
def test_formats_are_detected(template: str, added: tuple[str, ...], name: str) -> None:
    assert detect_format(template, added).name == name


def test_the_spaced_layout_is_detected() -> None:
    assert detect_format("{{ '[TOOL_CALLS] [' }}").write_calls(as_calls([("load", {})])).startswith("[TOOL_CALLS] [")


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(ModelUnavailableError, match="hermes"):
        get_format("harmony")


def test_ids_are_what_the_template_insists_on() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('id') }}"
        "{% endif %}call {{ c.id }} {% endfor %}{% if m.role == 'tool' %}result {{ m.tool_call_id }}{% endif %}"
        "{% endfor %}{% if tools %}{% endif %}"
    )
    call = ToolCall(id="call_0123456789ab", name="load", arguments={})
    messages = (
        Message(role="user", content="Hi"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="42", tool_call_id=call.id, name="load"),
    )
    written = PromptWriter(template, get_format("mistral")).write(ModelRequest(messages=messages, tools=TOOLS))
    words = written.split()
    assert words[0::2] == ["call", "result"]
    assert words[1] == words[3]
    assert words[1].isalnum()
    assert get_format("hermes").call_id(call.id) == call.id
