"""The constraint, driven by a model that knows nothing: it samples at random from what the mask allows."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from openhearth.errors import ModelError
from openhearth.models.chat import call_grammar
from openhearth.models.chat.call_plan import CallPlan
from openhearth.models.chat.constraint import BannedTokens, ToolCallConstraint
from openhearth.models.chat.detokenise import TokenBytes
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.grammar import GrammarCompiler, GrammarError
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.models.chat.schema import MAX_STRING, bounded
from openhearth.types import Message, ModelRequest, ToolSpec

EOS = "<|im_end|>"
WORDS = ("name", "arguments", "lookup", "city", ' "', '":', '{"', '"}}', '"}', "python", "```", "\n\n")

LOOKUP = ToolSpec(
    name="lookup",
    description="",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
        },
        "required": ["city"],
    },
)
LOAD = ToolSpec(name="load", description="", parameters={"type": "object", "properties": {}})
PYTHON = ToolSpec(
    name="python",
    description="",
    parameters={"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    language="python",
)


@lru_cache(maxsize=2)
def vocabulary(marker_tokens: bool) -> tuple[Tokenizer, GrammarCompiler, TokenBytes, dict[str, int]]:
    """A byte-level tokenizer with a few longer tokens and, as Qwen has them, markers that are tokens of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    longer = [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(w)[0][0] for w in WORDS
    ]
    vocab = {piece: id_ for id_, piece in enumerate(dict.fromkeys([*alphabet, *longer]))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken(EOS, special=True)]
    if marker_tokens:
        added += [AddedToken(text, special=False) for text in (HERMES.opener, HERMES.closer)]
    tokenizer.add_tokens(added)
    size = tokenizer.get_vocab_size() + 5
    ids = {token.content: id_ for id_, token in tokenizer.get_added_tokens_decoder().items()}
    compiler = GrammarCompiler(tokenizer, vocab_size=size, eos_ids=[ids[EOS]])
    return tokenizer, compiler, TokenBytes(tokenizer, keep=(HERMES.opener, HERMES.closer)), ids


def allows(mask: torch.Tensor, token: int) -> bool:
    return bool(int(mask[token // 32]) >> token % 32 & 1)


class Babble:
    """A reply: what is `said` comes first, the rest is random, or forced."""

    def __init__(self, said: str = "", *, seed: int = 0, markers: bool = True, **request: Any) -> None:
        self.tokenizer, compiler, self.pieces, self.ids = vocabulary(markers)
        fields = {"messages": (Message(role="user", content="Hi"),), **request}
        self.plan = CallPlan.of(ModelRequest.model_validate(fields), HERMES, compiler, self.ids.get)
        self.constraint = ToolCallConstraint(self.plan, self.pieces)
        self.random = random.Random(seed)
        self.tokens: list[int] = []
        self.sampled = 0
        self.said = list(self.tokenizer.encode(said).ids)

    def run(self, limit: int = 4_000) -> Babble:
        while len(self.tokens) < limit and not self.constraint.finished():
            forced = list(self.constraint.forced())
            mask = self.constraint.mask()
            if forced:
                self.said = self.said[len(forced) :] if self.said[: len(forced)] == forced else []
            elif self.said and (mask is None or allows(mask, self.said[0])):
                forced = [self.said.pop(0)]
            elif mask is None:
                break  # it is free again: a real model would go on, or end
            else:
                self.said = []
                forced = [self.sample(mask)]
            for token in forced:
                self.tokens.append(token)
                self.constraint.accept(token)
        return self

    def sample(self, mask: torch.Tensor) -> int:
        allowed = [token for token in range(len(mask) * 32) if allows(mask, token)]
        assert self.ids[EOS] not in allowed
        # Without some wish to end, random strings grow to their bound.
        weights = [30 if self.pieces[t][:1] in (b'"', b"}", b"]") else 1 for t in allowed]
        self.sampled += 1
        return self.random.choices(allowed, weights)[0]

    @property
    def text(self) -> str:
        return b"".join(self.pieces[token] for token in self.tokens).decode()

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        reply = ReplyBuilder(self.plan.tools)
        list(reply.feed(self.text, 0))
        list(reply.finish(0))
        return [(call.name, call.arguments) for call in reply.message.tool_calls]


def fits(arguments: dict[str, Any]) -> bool:
    return (
        arguments.keys() <= {"city", "unit", "days"}
        and len(arguments["city"]) <= 12
        and arguments.get("unit", "C") in ("C", "F")
        and all(0 <= day <= 9 for day in arguments.get("days", []))
        and len(arguments.get("days", [])) <= 3
    )


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


@pytest.mark.parametrize("banned", [[0], [31, 32, 63, 64], [99]])
def test_banned_tokens_and_only_they_are_masked(banned: Sequence[int]) -> None:
    constraint = BannedTokens(banned, vocab_size=100)
    mask = constraint.mask()
    assert [t for t in range(100) if not int(mask[t // 32]) >> t % 32 & 1] == list(banned)
    constraint.accept(1)
    assert not constraint.forced()
    assert not constraint.finished()
