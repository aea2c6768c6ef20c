"""From a GGUF vocabulary to a `tokenizers.Tokenizer`.

GGUF keeps the tokens, their kinds, and merges or scores, and names the rest: `tokenizer.ggml.model` says which
algorithm cuts a word into tokens, and for byte-level vocabularies `tokenizer.ggml.pre` how words are found
(pre_tokenizers.py). The other vocabularies are SentencePiece's (sentencepiece.py).
"""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models

from openhearth.errors import ModelUnavailableError
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_vocabulary import TokenKind, Vocabulary
from openhearth.models.loading.pre_tokenizers import RULES
from openhearth.models.loading.sentencepiece import sentencepiece_bpe, sentencepiece_unigram


def gguf_tokenizer(file: GgufFile) -> Tokenizer:
    """Build the tokenizer. It adds no beginning-of-sequence token.

    Ids that the file marks as unused are left out where the algorithm allows it. Raises MalformedFileError, or
    ModelUnavailableError for a kind of vocabulary that is not supported.
    """
    kind = file.metadata.get("tokenizer.ggml.model")
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise ModelUnavailableError(
            f"{file.path}: vocabularies of kind {kind!r} are not supported.",
            hint="Supported are byte-level BPE ('gpt2'), SentencePiece's BPE ('llama') and Unigram ('t5').",
        )
    vocabulary = Vocabulary(file)
    try:
        tokenizer = build(vocabulary)
    except (ValueError, TypeError, OverflowError) as error:
        raise vocabulary.malformed(f"the vocabulary is damaged ({error})") from error
    tokenizer.add_tokens(_added(vocabulary))
    return tokenizer


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    pre = vocabulary.metadata.text("tokenizer.ggml.pre", default="default")
    rules = RULES.get(pre)
    if rules is None:
        raise ModelUnavailableError(
            f"{vocabulary.path}: the pre-tokenizer {pre!r} is not supported.", hint=f"Supported are {', '.join(RULES)}."
        )
    ids, merges = vocabulary.used_ids(), vocabulary.merges()
    try:
        model = models.BPE(vocab=ids, merges=merges, ignore_merges=rules.ignore_merges, fuse_unk=False)
    except Exception as error:  # the Rust extension raises bare Exception
        raise vocabulary.malformed(f"the merges do not fit the vocabulary ({error})") from error
    tokenizer = Tokenizer(model)
    if rules.normalizer is not None:
        tokenizer.normalizer = rules.normalizer()
    tokenizer.pre_tokenizer = rules.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _added(vocabulary: Vocabulary) -> list[AddedToken]:
    """The tokens that are found in a text before anything else, in the order of their ids."""
    # The first Phi-3 models swallow the white space behind their markers; their files do not say so.
    stripping = vocabulary.is_sentencepiece and vocabulary.metadata.text("general.architecture", default="") == "phi3"
    return [
        AddedToken(
            token,
            special=kind != TokenKind.USER_DEFINED,
            normalized=False,
            rstrip=stripping and token not in _PHI3_PLAIN,
        )
        for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
        if kind in (TokenKind.CONTROL, TokenKind.UNKNOWN, TokenKind.USER_DEFINED)
    ]


_PHI3_PLAIN = frozenset({"<unk>", "<s>", "<|endoftext|>"})

_BUILDERS: dict[str, Callable[[Vocabulary], Tokenizer]] = {
    "gpt2": _byte_level,
    "llama": sentencepiece_bpe,
    "t5": sentencepiece_unigram,
}
