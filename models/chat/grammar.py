"""Compiles grammars for a tokenizer, with llguidance (docs/decisions/0002-grammar-library.md), and keeps them.

Nothing is loaded before a grammar is first needed; reading the vocabulary takes a second for a large one, so that
`warm_up` exists for a thread that has the time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from openhearth.errors import ModelError

_KEPT = 64


class GrammarCompiler:
    """One per tokenizer; safe to use from any thread. `vocab_size` is the model's, padding included."""

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, eos_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_ids = sorted(eos_ids)
        self._vocabulary: Any = None
        self._compiled: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Read the vocabulary now."""
        with self._lock:
            self._load()

    def start(self, grammar: str) -> Matcher:
        """A matcher at the beginning of `grammar` (Lark, in llguidance's dialect). Raises GrammarError."""
        with self._lock:
            vocabulary = self._load()
            compiled = self._compiled.get(grammar)
            if compiled is None:
                compiled = self._compile(grammar, vocabulary)
                self._compiled[grammar] = compiled
                if len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(grammar)
            return Matcher(compiled.deep_copy(), vocabulary)

    def compiles(self, grammar: str) -> bool:
        """Whether `start` would take it."""
        try:
            self.start(grammar)
        except GrammarError:
            return False
        return True

    def _load(self) -> Any:
        if self._vocabulary is None:
            import llguidance

            self._vocabulary = llguidance.LLTokenizer(
                self._tokenizer.to_str(), n_vocab=self._vocab_size, eos_token=self._eos_ids
            )
        return self._vocabulary

    @staticmethod
    def _compile(grammar: str, vocabulary: Any) -> Any:
        import llguidance

        matcher = llguidance.LLMatcher(vocabulary, grammar, log_level=0)
        if matcher.is_error():
            raise GrammarError(
                f"A tool's schema cannot be enforced: {_first_line(matcher.get_error())}",
                hint="Simplify the tool's parameters, or the output schema.",
            )
        return matcher


class Matcher:
    """A place in a grammar. Used by one thread at a time."""

    def __init__(self, matcher: Any, vocabulary: Any) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def stopped(self) -> bool:
        """Nothing can follow."""
        return bool(self._matcher.is_stopped())

    def mask(self) -> torch.Tensor:
        """int32 words, bit i % 32 of word i // 32 set where token i may come next."""
        return torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.int32)

    def forced(self) -> Sequence[int]:
        """The tokens that must come next, cut as the tokenizer would cut them."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        return tokens

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` can come next, one after another; nothing is consumed."""
        return int(self._matcher.validate_tokens(list(tokens)))

    def accept(self, token: int) -> None:
        """Raises GrammarError for a token that the mask forbids."""
        if not self._matcher.consume_token(token):
            raise GrammarError(f"The decoder left its grammar: {_first_line(self._matcher.get_error())}")

    def accept_text(self, text: str) -> bool:
        """Read `text` as if the model had written it; on False the matcher is of no more use."""
        return bool(self._matcher.consume_tokens(self._vocabulary.tokenize_str(text, parse_special=True)))


class GrammarError(ModelError):
    """A grammar that does not compile, or a token that it does not allow."""


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
