"""Tokens back to text, one at a time, never half a character."""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterable
from functools import lru_cache

from tokenizers import Tokenizer

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class TokenBytes:
    """The bytes that each token stands for; control tokens stand for none. One per tokenizer, used from any thread."""

    def __init__(self, tokenizer: Tokenizer, *, keep: Collection[str] = ()) -> None:
        """`keep` are control tokens that are text all the same, such as the marker of a tool call."""
        self._tokenizer = tokenizer
        self._added = {
            id_: b"" if token.special and token.content not in keep else token.content.encode()
            for id_, token in tokenizer.get_added_tokens_decoder().items()
        }
        self._byte_level = "ByteLevel" in _decoder_kinds(tokenizer)
        self._known: dict[int, bytes] = {}

    def __getitem__(self, token: int) -> bytes:
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._bytes(token)
        return known

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token]
        text = self._tokenizer.id_to_token(token)
        if text is None:
            return b""
        if self._byte_level:
            table = _byte_level_table()
            return b"".join(bytes([table[char]]) if char in table else char.encode() for char in text)
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            return bytes([int(text[3:5], 16)])
        return text.replace(_SPACE, " ").encode()


class Detokeniser:
    """Text from one reply's tokens. Bytes that can never become a character come out as U+FFFD."""

    def __init__(self, token_bytes: TokenBytes) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bool:
        """A character has begun and not ended."""
        return bool(self._decoder.getstate()[0])

    def feed(self, tokens: Iterable[int]) -> str:
        return self._decoder.decode(b"".join(self._token_bytes[token] for token in tokens))

    def finish(self) -> str:
        """What is left of a character that was cut off."""
        return self._decoder.decode(b"", final=True)


def _decoder_kinds(tokenizer: Tokenizer) -> set[str]:
    if tokenizer.decoder is None:
        return set()
    state = json.loads(tokenizer.decoder.__getstate__())
    return {part["type"] for part in [state, *state.get("decoders", [])]}


@lru_cache(maxsize=1)
def _byte_level_table() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest is shifted beyond it, in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
