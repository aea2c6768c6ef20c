"""Tokenizers rebuilt from GGUF metadata give the ids of the originals, on texts that are hard to cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tokenizers import (
    CONTROL,
    HARD_TEXTS,
    USER_DEFINED,
    bpe_parts,
    byte_level,
    byte_level_metadata,
    pieces,
    training_text,
    write_vocabulary,
)
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.normalizers import Precompiled
from transformers import GemmaTokenizer, LlamaTokenizer, T5Tokenizer

from openhearth.errors import MalformedFileError
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_tokenizer import gguf_tokenizer
from openhearth.models.loading.pre_tokenizers import RULES
from openhearth.models.loading.sentencepiece import _is_charsmap

NFC = {"normalizer": {"type": "NFC"}}
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts)}}


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = CL100K.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
DEEPSEEK_V3 = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)

PUBLISHED: dict[str, tuple[dict[str, Any], bool]] = {
    "gpt-2": ({"pre_tokenizer": GPT2}, False),
    "olmo": ({"pre_tokenizer": GPT2} | NFC, False),
    "smollm": (sequence(DIGITS, GPT2), False),
    "refact": (sequence(DIGITS, GPT2), False),
    "qwen2": (sequence(split(QWEN2), LEVEL) | NFC, False),
    "stablelm2": (sequence(split(QWEN2, "Removed", invert=True), LEVEL) | NFC, False),
    "llama-bpe": (sequence(split(CL100K), LEVEL), True),
    "dbrx": (sequence(split(CL100K), LEVEL), False),
    "gpt-4o": (sequence(split(O200K, "Removed", invert=True), LEVEL), False),
    "tekken": (sequence(split(TEKKEN), LEVEL), True),
    "deepseek-coder": (
        sequence(split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), DIGITS, LEVEL),
        False,
    ),
    "deepseek-v3": (sequence(split("\\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), LEVEL), False),
}
"""What the families publish in their tokenizer.json, and whether a word that is a token is taken whole."""


def rebuild(path: Path) -> Tokenizer:
    with GgufFile(path) as file:
        return gguf_tokenizer(file)


@pytest.mark.parametrize("pre", PUBLISHED)
def test_byte_level(pre: str, tmp_path: Path) -> None:
    published, ignore_merges = PUBLISHED[pre]
    original = byte_level(published, ignore_merges=ignore_merges)
    rebuilt = rebuild(write_vocabulary(tmp_path / "v.gguf", byte_level_metadata(original, pre)))
    again = Tokenizer.from_str(rebuilt.to_str())
    for text in HARD_TEXTS:
        ids = original.encode(text, add_special_tokens=False).ids
        assert rebuilt.encode(text).ids == ids, text
        assert again.encode(text).ids == ids, text
        assert rebuilt.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)


def test_every_rule_is_one_of_these() -> None:
    assert {rules.pre_tokenizer for rules in RULES.values()} == {RULES[pre].pre_tokenizer for pre in PUBLISHED}


def sentencepiece_metadata(**changes: Any) -> dict[str, Any]:
    tokens, kinds, scores = pieces()
    base = {"model": "llama", "tokens": list(tokens), "token_type": list(kinds), "scores": list(scores)}
    return base | {"unknown_token_id": 0} | changes


def add_specials(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in ["<unk>", *CONTROL]])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in USER_DEFINED])
    return tokenizer


def test_llama_with_a_leading_space(tmp_path: Path) -> None:
    vocabulary, merges = bpe_parts()
    newer = add_specials(LlamaTokenizer(vocab=vocabulary, merges=merges)._tokenizer)
    state = json.loads(newer.to_str())
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    state |= {"normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None}
    published = Tokenizer.from_str(json.dumps(state))
    rebuilt = rebuild(write_vocabulary(tmp_path / "v.gguf", sentencepiece_metadata()))
    for text in HARD_TEXTS:
        ids = rebuilt.encode(text).ids
        assert ids == published.encode(text, add_special_tokens=False).ids, text
        if not text.startswith(" ") and not any(token in text for token in (*CONTROL, *USER_DEFINED)):
            assert ids == newer.encode(text, add_special_tokens=False).ids, text
            if "▁" not in text:
                assert rebuilt.decode(ids) == text
    # Behind a marker a text begins with a space again; transformers' newer class does not do that.
    assert [rebuilt.id_to_token(id_) for id_ in rebuilt.encode("<s>the</s>").ids] == ["<s>", "▁the", "</s>"]


def test_gemma_without_one(tmp_path: Path) -> None:
    vocabulary, merges = bpe_parts()
    original = add_specials(GemmaTokenizer(vocab=vocabulary, merges=merges)._tokenizer)
    rebuilt = rebuild(write_vocabulary(tmp_path / "v.gguf", sentencepiece_metadata(add_space_prefix=False)))
    for text in HARD_TEXTS:
        ids = original.encode(text, add_special_tokens=False).ids
        assert rebuilt.encode(text).ids == ids, text
        if "▁" not in text:
            assert rebuilt.decode(ids, skip_special_tokens=False) == text


def test_phi3_swallows_white_space_behind_its_markers(tmp_path: Path) -> None:
    plain = rebuild(write_vocabulary(tmp_path / "v.gguf", sentencepiece_metadata()))
    phi3 = rebuild(write_vocabulary(tmp_path / "w.gguf", sentencepiece_metadata(), architecture="phi3"))
    assert phi3.encode("<|end|>\n\nx").ids == plain.encode("<|end|>x").ids
    assert phi3.encode("<s>\n\nx").ids == plain.encode("<s>\n\nx").ids


def charsmap(replacements: dict[str, str]) -> bytes:
    """SentencePiece's table of replacements: a double-array trie with one block of 256 units for each node."""
    texts, starts = b"", {}
    for source, target in replacements.items():
        starts[source.encode()] = len(texts)
        texts += target.encode() + b"\0"
    prefixes = sorted({word[:end] for word in starts for end in range(1, len(word) + 1)}, key=len)
    blocks = {prefix: 256 * (number + 1) for number, prefix in enumerate(prefixes)}
    units = [0] * 256 * (len(prefixes) + 1)
    units[0] = 0
    for prefix in prefixes:
        at = blocks.get(prefix[:-1], 0) ^ prefix[-1]
        units[at] = prefix[-1] | (at ^ blocks[prefix]) << 10
        if prefix in starts:
            units[at] |= 256
            units[blocks[prefix]] = starts[prefix] | 1 << 31
    trie = b"".join(unit.to_bytes(4, "little") for unit in units)
    return len(trie).to_bytes(4, "little") + trie + texts


def unigram_metadata() -> dict[str, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        training_text(),
        trainers.UnigramTrainer(
            vocab_size=800, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    scores = dict(json.loads(tokenizer.to_str())["model"]["vocab"])
    return {
        "model": "t5",
        "tokens": tokens,
        "token_type": [3, 3, 2] + [1] * (len(tokens) - 3),
        "scores": [scores[token] for token in tokens],
        "unknown_token_id": 2,
        "remove_extra_whitespaces": True,
    }


def test_unigram(tmp_path: Path) -> None:
    metadata = unigram_metadata()
    pieces_and_scores = list(zip(metadata["tokens"], metadata["scores"], strict=True))
    table = charsmap({"ﬁ": "fi", "ａ": "a", "\u00a0": " ", "\n": " ", "…": "..."})
    original = T5Tokenizer(vocab=pieces_and_scores, extra_ids=0, _spm_precompiled_charsmap=table)._tokenizer
    rebuilt = rebuild(write_vocabulary(tmp_path / "v.gguf", metadata | {"precompiled_charsmap": table}))
    for text in ["Hello world", "the ﬁrst…  ａnd  last ", "a model's tokens\u00a0and\nlines", "日本語 👍", " x", ""]:
        assert rebuilt.encode(text).ids == original.encode(text, add_special_tokens=False).ids, text
    assert rebuilt.decode(rebuilt.encode("the ﬁrst words").ids) == "the first words"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scores": [1, 2, 3]}, "scores is not an array of"),
        ({"scores": [float("nan")] * len(pieces()[0])}, "no number"),
        ({"tokens": ["a"] * len(pieces()[0])}, "occurs twice"),
        ({"tokens": [*pieces()[0][:-1], "x" * 300], "token_type": [1] * len(pieces()[0])}, "300 characters long"),
        ({"unknown_token_id": 1 << 30}, "unknown_token_id is not a token id"),
        ({"add_space_prefix": "yes"}, "add_space_prefix is not true or false"),
    ],
)
def test_damaged_pieces(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        rebuild(write_vocabulary(tmp_path / "v.gguf", sentencepiece_metadata(**change)))


TABLE = charsmap({"ﬁ": "fi", "ａ": "a", "…": "..."})


@settings(deadline=None, max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, len(TABLE) // 4 - 1), st.integers(0, 2**32 - 1)), max_size=4))
def test_a_damaged_table_of_replacements_is_refused_or_harmless(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(TABLE)
    for at, value in changes:
        damaged[4 * at : 4 * at + 4] = value.to_bytes(4, "little")
    if _is_charsmap(bytes(damaged)):
        normalizer = Precompiled(bytes(damaged))
        for text in ("the ﬁrst…  ａnd", *HARD_TEXTS[10:20], "".join(map(chr, range(1, 600)))):
            normalizer.normalize_str(text)


def test_tables_of_the_wrong_size() -> None:
    assert _is_charsmap(TABLE)
    for table in (b"", b"\1", TABLE[:100], b"\0\0\0\0" + TABLE[4:], b"\xff" * 4 + TABLE[4:], TABLE + b"\xff"):
        assert not _is_charsmap(table)
