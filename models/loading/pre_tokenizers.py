"""How the families of byte-level vocabularies split a text before merges apply, by GGUF's `tokenizer.ggml.pre`.

The rules are the ones that the families publish in their `tokenizer.json`. An unknown name is an error: the wrong rules
yield a model that looks merely bad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS_AND_SPACES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS_WITH_SLASHES = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# A word's upper-case letters, then its lower-case ones; either may be missing, as in scripts without case.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")


@dataclass(frozen=True, slots=True)
class Rules:
    """How a family treats a text before the merges. `ignore_merges`: a word that is a token is taken whole."""

    pre_tokenizer: Callable[[], Any]
    normalizer: Callable[[], Any] | None = None
    ignore_merges: bool = False


def _split(*patterns: str, digits: bool = False) -> Callable[[], Any]:
    """Split by one pattern after another; `digits`: then each digit from its neighbours."""

    def build() -> Any:
        parts: list[Any] = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
        parts += [pre_tokenizers.Digits(individual_digits=True)] if digits else []
        return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    return build


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


_CL100K = _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS_AND_SPACES}")
_LLAMA3 = Rules(_CL100K, ignore_merges=True)
_GPT2 = Rules(_gpt2)
_NEOX = Rules(_gpt2, normalizer=normalizers.NFC)
_STARCODER = Rules(_single_digits)
_QWEN2 = Rules(
    _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SIGNS_AND_SPACES}"),
    normalizer=normalizers.NFC,
)
_GPT4O = _split("|".join((*(f"{word}{_CONTRACTIONS}?" for word in _CASED), r"\p{N}{1,3}", _SIGNS_WITH_SLASHES)))
_TEKKEN = Rules(_split("|".join((*_CASED, r"\p{N}", _SIGNS_WITH_SLASHES))), ignore_merges=True)
_DEEPSEEK_CODER = Rules(_split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", digits=True))
_DEEPSEEK_V3 = Rules(
    _split(
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)

RULES: dict[str, Rules] = {
    "gpt-2": _GPT2,
    "default": _GPT2,
    "phi-2": _GPT2,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "smollm": _STARCODER,
    "starcoder": _STARCODER,
    "refact": _STARCODER,
    "codeshell": _STARCODER,
    "qwen2": _QWEN2,
    "stablelm2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "smaug-bpe": Rules(_CL100K),
    "dbrx": Rules(_CL100K),
    "gpt-4o": Rules(_GPT4O),
    "llama4": Rules(_GPT4O),
    "tekken": _TEKKEN,
    "deepseek-coder": _DEEPSEEK_CODER,
    "deepseek-v3": _DEEPSEEK_V3,
}
