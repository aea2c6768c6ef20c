"""The constraint, driven by a model that knows nothing (`support.babble`)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from support.babble import EOS, LOAD, LOOKUP, PYTHON, Babble, fits, vocabulary

from openhearth.errors import ModelError
from openhearth.models.chat import call_grammar
from openhearth.models.chat.call_plan import CallPlan
from openhearth.models.chat.constraint import BannedTokens, ToolCallConstraint
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.grammar import GrammarError
from openhearth.models.chat.schema import MAX_STRING, bounded
from openhearth.types import Message, ModelRequest, ToolSpec

REQUEST = ModelRequest(messages=(Message(role="user", content="Load."),), tools=(LOAD,))
OPENINGS = (
    "<tool_call>",
    "Let me see.\n<tool_call>\n",
    "<tool_call>\n{",
    'So: {"name": "loo',
    '{"name": "',
    '```json\n{"name": "',
    'First.\n```json\n{\n  "name": "look',
    '[{"name": "',
    '{"arguments": {',
    '{"name": "lookup", "parameters": ',
)


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("said", OPENINGS)
def test_whatever_is_sampled_an_opened_call_parses_and_fits(said: str, markers: bool) -> None:
    for seed in range(6):
        reply = Babble(said, seed=seed, markers=markers, tools=(LOOKUP, LOAD)).run()
        calls = reply.calls()
        assert calls, reply.text
        for name, arguments in calls:
            assert name in ("lookup", "load")
            assert fits(arguments) if name == "lookup" else arguments == {}


def test_a_split_marker_is_completed() -> None:
    reply = Babble("<tool_", markers=False, tools=(LOAD,)).run()
    assert reply.text.startswith('<tool_call>\n{"')
    assert reply.calls() == [("load", {})]


def test_what_is_forced_is_not_sampled_and_is_laid_out_as_the_template_does() -> None:
    reply = Babble("<tool_call>", tools=(LOAD,), seed=3).run()
    assert reply.sampled == 1
    assert reply.text in (
        '<tool_call>\n{"name": "load", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"arguments": {}, "name": "load"}\n</tool_call>',
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_required_call_comes_first(seed: int) -> None:
    reply = Babble(seed=seed, tools=(LOOKUP, LOAD), tool_choice="required").run()
    assert reply.text.startswith("<tool_call>\n")
    assert len(reply.calls()) == 1


def test_a_named_tool_is_the_only_one_and_ends_the_reply() -> None:
    reply = Babble(tools=(LOOKUP, LOAD, PYTHON), tool_choice="tool:load").run()
    assert reply.calls() == [("load", {})]
    assert reply.constraint.finished()


def test_a_named_code_tool_is_called_by_its_block() -> None:
    reply = Babble(tools=(LOAD, PYTHON), tool_choice="tool:python")
    reply.run()
    assert reply.text == "```python\n"
    reply.said = list(reply.tokenizer.encode("print(1)\n```\n").ids)
    reply.run()
    assert reply.constraint.finished()
    assert reply.calls() == [("python", {"code": "print(1)"})]


def test_a_code_block_ends_the_reply_at_its_fence() -> None:
    reply = Babble("So:\n```python\nx = '''\n```js\n'''\n```\nOutput: 1", tools=(PYTHON,)).run()
    assert reply.text == "So:\n```python\nx = '''\n```js\n'''\n```\n"


def test_a_choice_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(ModelError, match="does not offer"):
        Babble(tools=(LOAD,), tool_choice="tool:other")
    with pytest.raises(ModelError, match="does not offer"):
        Babble(tool_choice="required")


@pytest.mark.parametrize(
    "said",
    [
        "Plain text, {braces} and [brackets].",
        'An example:\n```json\n{"name": "Alice"}\n```',
        'An example: {"city": "Rome", "name": "lookup"}',
        "```js\n{\"name\": \"lookup\", \"arguments\": {}}\n```",
    ],
)  # fmt: skip
def test_what_is_no_call_is_left_alone(said: str) -> None:
    reply = Babble(said, tools=(LOOKUP, LOAD))
    while reply.said:
        assert reply.constraint.mask() is None
        assert not reply.constraint.forced()
        reply.constraint.accept(reply.said.pop(0))
    assert not reply.constraint.finished()


def test_an_unknown_tool_after_text_still_parses() -> None:
    for seed in range(5):
        reply = Babble('Hm: {"name": "forecast", "arguments": {', seed=seed, tools=(LOAD,)).run()
        assert [name for name, _ in reply.calls()] == ["forecast"]


@pytest.mark.parametrize("seed", range(5))
def test_structured_output_is_an_instance_of_its_schema(seed: int) -> None:
    reply = Babble(seed=seed, output_schema=LOOKUP.parameters).run()
    assert reply.constraint.finished()
    assert fits(json.loads(reply.text))


def test_with_tools_and_a_schema_the_reply_is_a_call_or_an_instance() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    seen = set()
    for seed in range(30):
        reply = Babble(seed=seed, tools=(LOAD,), output_schema=schema).run()
        calls = reply.calls()
        assert calls == [("load", {})] or json.loads(reply.text)["ok"] in (True, False)
        assert reply.constraint.finished() == (not calls)
        seen.add(bool(calls))
    assert seen == {True, False}


def test_a_schema_that_cannot_be_enforced() -> None:
    impossible = {"type": "object", "properties": {"x": {"type": "string", "pattern": "(?<=a)b"}}, "required": ["x"]}
    with pytest.raises(GrammarError, match="cannot be enforced"):
        Babble(output_schema=impossible)
    broken = ToolSpec(name="broken", description="", parameters=impossible)
    reply = Babble("<tool_call>", tools=(broken, LOAD), seed=1).run()
    assert {name for name, _ in reply.calls()} <= {"broken", "load"}


def test_every_string_and_array_is_bounded() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": "d"},
            "b": {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}], "default": None},
            "c": {"type": "array", "items": {"$ref": "#/$defs/D"}},
            "d": {},
            "e": {"type": "object"},
            "f": {"type": "string", "maxLength": 3},
            "title": {"type": "integer", "title": "T"},
        },
        "$defs": {"D": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}},
    }
    result = bounded(schema)
    properties = result["properties"]
    assert properties["a"] == {"type": "string", "maxLength": MAX_STRING}
    assert properties["b"]["anyOf"][0] == {"type": "string", "enum": ["x"]}
    assert properties["c"]["maxItems"] > 0
    assert properties["d"] == {"$ref": "#/$defs/hearth_any"}
    assert properties["e"]["additionalProperties"] == {"$ref": "#/$defs/hearth_any"}
    assert properties["f"]["maxLength"] == 3
    assert properties["title"] == {"type": "integer"}
    assert result["additionalProperties"] is False
    assert result["$defs"]["D"]["properties"]["x"]["maxLength"] == MAX_STRING
    _, compiler, _, _ = vocabulary(True)
    assert compiler.compiles(call_grammar.instance(schema))


def test_a_compiled_grammar_is_kept_and_copied() -> None:
    _, compiler, _, ids = vocabulary(True)
    grammar = call_grammar.marked_call([LOAD], HERMES, ids.get)
    first, second = compiler.start(grammar), compiler.start(grammar)
    assert first.accept_text('<tool_call>\n{"name"')
    assert not second.accept_text("nonsense")
    assert first.forced()
    with pytest.raises(GrammarError, match="left its grammar"):
        first.accept(ids[EOS])


def test_what_a_guess_may_say_is_what_the_grammar_allows() -> None:
    tokenizer, compiler, token_bytes, ids = vocabulary(True)
    matcher = compiler.start(call_grammar.marked_call([LOAD], HERMES, ids.get))
    right = tokenizer.encode('<tool_call>\n{"name": "load"', add_special_tokens=False).ids
    wrong = tokenizer.encode("x", add_special_tokens=False).ids
    assert matcher.allowed(right) == len(right)
    assert matcher.allowed([*right[:3], *wrong, *right[3:]]) == 3
    # Nothing was consumed.
    for token in right:
        matcher.accept(token)
    constraint = ToolCallConstraint(CallPlan.of(REQUEST, HERMES, compiler, ids.get), token_bytes)
    assert constraint.allowed(wrong) == 1
    for token in right[:3]:
        constraint.accept(token)
    assert constraint.allowed([*right[3:], *wrong, *right]) == len(right) - 3


@pytest.mark.parametrize("banned", [[0], [31, 32, 63, 64], [99]])
def test_banned_tokens_and_only_they_are_masked(banned: Sequence[int]) -> None:
    constraint = BannedTokens(banned, vocab_size=100)
    mask = constraint.mask()
    assert mask is not None
    assert [t for t in range(100) if not int(mask[t // 32]) >> t % 32 & 1] == list(banned)
    constraint.accept(1)
    assert not constraint.forced()
    assert not constraint.finished()
    assert constraint.allowed([1, 2, banned[0], 3]) == 2
    assert constraint.allowed([1, 2]) == 2


def test_some_tokens_are_only_no_beginning() -> None:
    constraint = BannedTokens([3], vocab_size=40, at_first=[7, 39])
    first = constraint.mask()
    assert first is not None
    assert [t for t in range(40) if not int(first[t // 32]) >> t % 32 & 1] == [3, 7, 39]
    assert constraint.allowed([7]) == 0
    constraint.accept(1)
    then = constraint.mask()
    assert then is not None
    assert [t for t in range(40) if not int(then[t // 32]) >> t % 32 & 1] == [3]
    assert constraint.allowed([7, 3]) == 1
    only_first = BannedTokens([], vocab_size=40, at_first=[7])
    only_first.accept(1)
    assert only_first.mask() is None
