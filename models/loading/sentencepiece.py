"""SentencePiece vocabularies as `tokenizers` models: BPE, where the best-scored pair merges first, and Unigram, where
the cut with the best sum of scores wins (Kudo, 2018, arXiv 1804.10959).

SentencePiece writes a space as U+2581 and begins a text with one. So do these: at the beginning of each stretch of
text between added tokens, as llama.cpp does with the same files; transformers' newer tokenizers do so at the very
beginning only.
"""

from __future__ import annotations

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from openhearth.models.loading.gguf_vocabulary import TokenKind, Vocabulary

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_LONGEST = 256
"""Characters of a piece. SentencePiece's own limit is 16 unless told; the time to cut one into pairs is quadratic."""


def sentencepiece_bpe(vocabulary: Vocabulary) -> Tokenizer:
    """Llama 2, Mistral, Phi-3, Gemma."""
    ids, unknown, merges = vocabulary.used_ids(), vocabulary.unknown(), _merges(vocabulary)
    try:
        model = models.BPE(
            vocab=ids,
            merges=merges,
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    except Exception as error:  # the Rust extension raises bare Exception
        raise vocabulary.malformed(f"the pieces do not fit one another ({error})") from error
    tokenizer = Tokenizer(model)
    prefix = vocabulary.metadata.flag("tokenizer.ggml.add_space_prefix", default=True)
    steps = [normalizers.Prepend(_SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    parts = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if prefix else parts)
    return tokenizer


def sentencepiece_unigram(vocabulary: Vocabulary) -> Tokenizer:
    """T5's kind."""
    byte_fallback = TokenKind.BYTE in vocabulary.kinds
    pieces = list(zip(vocabulary.tokens, vocabulary.scores(), strict=True))
    if not pieces or "" in vocabulary.tokens:
        raise vocabulary.malformed("an empty piece")
    try:
        model = models.Unigram(pieces, vocabulary.unknown(), byte_fallback)
    except Exception as error:  # the Rust extension raises bare Exception
        raise vocabulary.malformed(f"the pieces do not fit one another ({error})") from error
    tokenizer = Tokenizer(model)
    charsmap = vocabulary.bytes("tokenizer.ggml.precompiled_charsmap")
    steps: list[normalizers.Normalizer] = []
    if charsmap:
        if not _is_charsmap(charsmap):
            raise vocabulary.malformed("tokenizer.ggml.precompiled_charsmap is damaged")
        steps.append(normalizers.Precompiled(charsmap))
    if vocabulary.metadata.flag("tokenizer.ggml.remove_extra_whitespaces", default=False):
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    prefix = vocabulary.metadata.flag("tokenizer.ggml.add_space_prefix", default=True)
    scheme = "always" if prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme=scheme)
    parts = [decoders.ByteFallback(), decoders.Metaspace(_SPACE, prepend_scheme=scheme)]
    tokenizer.decoder = decoders.Sequence(parts if byte_fallback else parts[1:])
    return tokenizer


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """All pairs of pieces that make up a third, the best-scored one first; for one piece, its pairs by their ids."""
    scores = vocabulary.scores()
    ids = {
        token: index
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if kind in (TokenKind.NORMAL, TokenKind.USER_DEFINED)
    }
    found: list[tuple[float, int, int, str, str]] = []
    for piece, index in ids.items():
        if len(piece) > _LONGEST:
            if vocabulary.kinds[index] == TokenKind.NORMAL:
                raise vocabulary.malformed(f"the piece {piece[:40]!r}… is {len(piece)} characters long")
            continue
        for cut in range(1, len(piece)):
            left, right = ids.get(piece[:cut]), ids.get(piece[cut:])
            if left is not None and right is not None:
                found.append((-scores[index], left, right, piece[:cut], piece[cut:]))
    found.sort()
    return [(left, right) for *_, left, right in found]


def _is_charsmap(data: bytes) -> bool:
    """Whether the table of replacements can be read to its ends.

    It is the length of a double-array trie, the trie in units of 32 bits, and texts that end in a zero. A step goes
    from unit i to i ^ offset ^ byte; where a word ends, unit i ^ offset says at which byte of the texts its replacement
    is. The library that reads it checks none of that.
    """
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 or length % 4 or not 0 < length <= len(data) - 4:
        return False
    units = np.frombuffer(data, "<u4", count=length // 4, offset=4).astype(np.int64)
    texts = data[4 + length :]
    offsets = (units >> 10) << ((units & 512) >> 6)
    inner = units >> 31 == 0
    next_units = np.arange(len(units)) ^ offsets
    if (next_units[inner] | 255).max(initial=0) >= len(units):
        return False
    ends = units[next_units[inner & (units & 256 != 0)]]
    values = ends & 0x7FFF_FFFF
    if (ends >> 31 == 0).any() or values.max(initial=0) > len(texts):
        return False
    starts = np.frombuffer(texts + b"\0", np.uint8)[values]
    try:
        texts.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not bool((starts & 0xC0 == 0x80).any())  # none begins within a character
