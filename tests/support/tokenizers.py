"""Tiny tokenizers of each family, trained on text of this repository, and their vocabularies as GGUF metadata."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import generate_merges

HARD_TEXTS = [
    "",
    " ",
    "\n",
    "   ",
    " \n \t \n \t x",
    "Hello world",
    "  leading spaces, and trailing ones  ",
    "   three\n\n\nnewlines  \n x",
    "word  \n  word",
    "tab\tand\r\nCRLF\r\rx\v\f",
    "def f(x):\n    return x**2 + 1_000 # 3.14e-10\n\n\tif x>=10:\n\t\tpass",
    "SELECT * FROM t WHERE a='b' AND c<>3;",
    '{"name": "python", "arguments": {"code": "print(\\"hi\\")\\n"}}',
    "http://example.com/a?b=c&d=%20#f",
    "don't I'LL we'Re THEY'VE it's 'tis ' 'S I'm\n'm can't CAN'T HTTPServer camelCase",
    "0123456789 12 345 6789 a1b22c333 1,874.50 ١٢٣ ½ ² Ⅷ ① ㊿ 〇",
    "日本語のテキスト、全角　スペース",
    "한국어 텍스트 नमस्ते दुनिया مرحبا بالعالم שלום ไทยภาษา",
    "emoji 👩‍👩‍👧‍👦 👍🏽 🇩🇪 \U0001f9d1\u200d\U0001f680 ok",
    "n\u0303 e\u0301 A\u030a \u1e9e ß ﬁ ǅ ʰ ª º 𝒜𝓁𝓅𝒽𝒶 ＡＢＣ１２３",
    "control \x00\x01\x1b[31m\x7f end",
    "zero\u200bwidth\u200djoin\ufeffbom\u00a0nbsp\u2003em\u2028line \ud7ff\ue000\uffff",
    "“quotes” ‘single’ — dash … !!!???...---=== {}[]()<>;:'\"\\|`~@#$%^&*",
    "a" * 60 + " " * 20 + "y",
    "<s>user\nhi</s>\n<|end|> <tool> <|end",
    "</s> after",
    "literal <0x41> and ▁ mark",
]

CONTROL = ["<s>", "</s>", "<|end|>"]
USER_DEFINED = ["<tool>"]


@functools.cache
def training_text() -> tuple[str, ...]:
    root = Path(__file__).parents[2]
    files = [*sorted((root / "models" / "engine").glob("*.py")), root / "README.md", root / "CHANGELOG.md"]
    return tuple(file.read_text(encoding="utf-8") for file in files) + tuple(HARD_TEXTS[15:20]) * 3


def byte_level(published: dict[str, Any], *, ignore_merges: bool = False) -> Tokenizer:
    """A byte-level tokenizer with the `normalizer` and `pre_tokenizer` of a family's tokenizer.json, trained."""
    blank = Tokenizer(models.BPE())
    state = json.loads(blank.to_str()) | {"normalizer": None} | published
    state["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        training_text(), trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    )
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = ignore_merges
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in USER_DEFINED])
    return tokenizer


@functools.cache
def pieces() -> tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...]]:
    """A SentencePiece BPE vocabulary: pieces, kinds and scores, as a model file of that library lists them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(vocab_size=1200, show_progress=False))
    vocabulary = tokenizer.get_vocab()
    learnt = sorted(vocabulary, key=lambda token: vocabulary[token])
    longer = [piece for piece in learnt if len(piece) > 1]
    single = [piece for piece in learnt if len(piece) == 1]
    tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), *longer, *single, *USER_DEFINED]
    kinds = [2, 3, 3, 3] + [6] * 256 + [1] * len(learnt) + [4]
    scores = [0.0] * 260 + [-float(index) for index in range(len(learnt))] + [0.0]
    return tuple(tokens), tuple(kinds), tuple(scores)


def bpe_parts() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of `pieces`, as transformers' converter makes them."""
    tokens, kinds, scores = pieces()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    plain = [(token, score) for token, kind, score in zip(tokens, kinds, scores, strict=True) if kind == 1]
    skipped = {token for token, kind in zip(tokens, kinds, strict=True) if kind != 1}
    return vocabulary, generate_merges(vocabulary, plain, skipped)


def write_vocabulary(path: Path, metadata: dict[str, Any], *, architecture: str = "llama") -> Path:
    """A GGUF file with nothing but these metadata (keys without `tokenizer.ggml.`)."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_array(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def byte_level_metadata(tokenizer: Tokenizer, pre: str) -> dict[str, Any]:
    """What llama.cpp's converter writes for a byte-level tokenizer."""
    state = json.loads(tokenizer.to_str())
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    kinds = [3 if token in CONTROL else 4 if token in USER_DEFINED else 1 for token in tokens]
    merges = [" ".join(merge) for merge in state["model"]["merges"]]
    return {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": kinds, "merges": merges}
