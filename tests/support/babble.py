"""A model that knows nothing: it writes what it is told to, then samples at random from what the constraint allows."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from openhearth.models.chat.call_plan import CallPlan
from openhearth.models.chat.constraint import ToolCallConstraint
from openhearth.models.chat.detokenise import TokenBytes
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.grammar import GrammarCompiler
from openhearth.models.chat.reply import ReplyBuilder
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


@lru_cache(maxsize=16)
def vocabulary(
    marker_tokens: bool, tool_format: ToolFormat = HERMES
) -> tuple[Tokenizer, GrammarCompiler, TokenBytes, dict[str, int]]:
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
        added += [AddedToken(text, special=False) for text in tool_format.markers]
    tokenizer.add_tokens(added)
    size = tokenizer.get_vocab_size() + 5
    ids = {token.content: id_ for id_, token in tokenizer.get_added_tokens_decoder().items()}
    compiler = GrammarCompiler(tokenizer, vocab_size=size, eos_ids=[ids[EOS]])
    return tokenizer, compiler, TokenBytes(tokenizer, keep=tool_format.markers), ids


def allows(mask: torch.Tensor, token: int) -> bool:
    return bool(int(mask[token // 32]) >> token % 32 & 1)


class Babble:
    """A reply: what is `said` comes first, the rest is random, or forced."""

    def __init__(
        self,
        said: str = "",
        *,
        seed: int = 0,
        markers: bool = True,
        tool_format: ToolFormat = HERMES,
        **request: Any,
    ) -> None:
        self.tokenizer, compiler, self.pieces, self.ids = vocabulary(markers, tool_format)
        fields = {"messages": (Message(role="user", content="Hi"),), **request}
        self.plan = CallPlan.of(ModelRequest.model_validate(fields), tool_format, compiler, self.ids.get)
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
        reply = ReplyBuilder(self.plan.tools, tool_format=self.plan.tool_format)
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
