"""From a GGUF vocabulary to a `tokenizers.Tokenizer`.

GGUF keeps the tokens, their kinds and the merges, and names the rest: `tokenizer.ggml.pre` says which family's rules
split a text before the merges apply. The rules below are the ones that the families publish in their
`tokenizer.json`. An unknown name is an error: the wrong rules yield a model that looks merely bad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.gguf import GgufFile

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS_AND_SPACES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class TokenKind(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class _Rules:
    """How a family treats a text before the merges. `ignore_merges`: a word that is a token is taken whole."""

    pre_tokenizer: Callable[[], Any]
    normalizer: Callable[[], Any] | None = None
    ignore_merges: bool = False


def _split(pattern: str) -> Callable[[], Any]:
    return lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


_GPT2 = _Rules(_gpt2)
_SMOLLM = _Rules(_single_digits)
_QWEN2 = _Rules(_split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_MARKS_AND_SPACES}"), normalizer=normalizers.NFC)
_LLAMA3 = _Rules(_split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_MARKS_AND_SPACES}"), ignore_merges=True)

RULES: dict[str, _Rules] = {
    "gpt-2": _GPT2,
    "default": _GPT2,
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
}


def gguf_tokenizer(file: GgufFile) -> Tokenizer:
    """Build the tokenizer. It adds nothing to a text: no beginning-of-sequence token, no leading space.

    Ids that the file marks as unused are left out. Raises MalformedFileError, or ModelUnavailableError for a kind of
    vocabulary that is not supported.
    """
    metadata = file.metadata
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ModelUnavailableError(
            f"{file.path}: vocabularies of kind {kind!r} are not supported.",
            hint="Supported are byte-level BPE vocabularies ('gpt2'), as Llama 3, Qwen and SmolLM have them.",
        )
    pre = metadata.get("tokenizer.ggml.pre", "default")
    rules = RULES.get(pre) if isinstance(pre, str) else None
    if rules is None:
        raise ModelUnavailableError(
            f"{file.path}: the pre-tokenizer {pre!r} is not supported.", hint=f"Supported are {', '.join(RULES)}."
        )
    tokens = _strings(file, "tokenizer.ggml.tokens")
    kinds = _kinds(file, len(tokens))
    used = [index for index, token_kind in enumerate(kinds) if token_kind != TokenKind.UNUSED]
    vocabulary = {tokens[index]: index for index in used}
    if len(vocabulary) != len(used):
        raise _malformed(file, "a token occurs twice in the vocabulary")
    try:
        tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=_merges(file), ignore_merges=rules.ignore_merges, fuse_unk=False)
        )
    except Exception as error:  # the Rust extension raises bare Exception
        raise _malformed(file, f"the merges do not fit the vocabulary ({error})") from error
    if rules.normalizer is not None:
        tokenizer.normalizer = rules.normalizer()
    tokenizer.pre_tokenizer = rules.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(tokens[index], special=kinds[index] != TokenKind.USER_DEFINED, normalized=False)
            for index in used
            if kinds[index] in (TokenKind.CONTROL, TokenKind.UNKNOWN, TokenKind.USER_DEFINED)
        ]
    )
    return tokenizer


def _merges(file: GgufFile) -> list[tuple[str, str]]:
    merges = []
    for merge in _strings(file, "tokenizer.ggml.merges"):
        left, space, right = merge.partition(" ")
        if not (left and space and right) or " " in right:
            raise _malformed(file, f"the merge {merge[:40]!r} is not two tokens")
        merges.append((left, right))
    return merges


def _kinds(file: GgufFile, count: int) -> list[int]:
    kinds = file.metadata.get("tokenizer.ggml.token_type")
    if kinds is None:
        return [TokenKind.NORMAL] * count
    if not isinstance(kinds, np.ndarray) or kinds.dtype.kind not in "iu" or len(kinds) != count:
        raise _malformed(file, f"tokenizer.ggml.token_type is not an array of {count} whole numbers")
    values: list[int] = kinds.tolist()
    return values


def _strings(file: GgufFile, key: str) -> list[str]:
    value = file.metadata.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _malformed(file, f"{key} is not an array of strings")
    return value


def _malformed(file: GgufFile, problem: str) -> MalformedFileError:
    return MalformedFileError(f"{file.path}: {problem}.", hint="Fetch the file again.")
