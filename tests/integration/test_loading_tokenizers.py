"""The catalog models' tokenizers against the rules that their families publish, and against llama.cpp's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers.models.qwen2 import Qwen2Tokenizer

from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_tokenizer import gguf_tokenizer
from openhearth.models.loading.gguf_vocabulary import TokenKind

LLAMA_CPP_IDS = Path(__file__).with_name("loading") / "llama_cpp_ids.json"

TEXTS = [
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
    "don't I'LL we'Re THEY'VE it's 'tis ' 'S I'm\n'm can't CAN'T",
    "0123456789 12 345 6789 a1b22c333 1,874.50 ١٢٣ ½ ² Ⅷ ① ㊿ 〇",
    "日本語のテキスト、全角　スペース",
    "한국어 텍스트 नमस्ते दुनिया مرحبا بالعالم שלום ไทยภาษา",
    "emoji 👩‍👩‍👧‍👦 👍🏽 🇩🇪 \U0001f9d1\u200d\U0001f680 ok",
    "n\u0303 e\u0301 A\u030a \u1e9e ß ﬁ ǅ ʰ ª º 𝒜𝓁𝓅𝒽𝒶 ＡＢＣ１２３",
    "control \x00\x01\x1b[31m\x7f end",
    "zero\u200bwidth\u200djoin\ufeffbom\u00a0nbsp\u2003em\u2028line \ud7ff\ue000\uffff",
    "“quotes” ‘single’ — dash … !!!???...---=== {}[]()<>;:'\"\\|`~@#$%^&*",
    "a" * 60 + " " * 20 + "y",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<tool_call>\n{}\n</tool_call><|fim_prefix|>a<|fim_suffix|>b<|im_end|",
]


def test_smollm2(smollm2_gguf: Path) -> None:
    with GgufFile(smollm2_gguf) as file:
        ours, published = gguf_tokenizer(file), _published_smollm2(file)
    for text in TEXTS:
        ids = ours.encode(text).ids
        assert ids == published.encode(text).ids, text
        assert ours.decode(ids, skip_special_tokens=False) == text
    theirs = _llama_cpp_ids("smollm2-135m")
    assert {text: ours.encode(text).ids for text in theirs} == theirs


@pytest.mark.large
def test_qwen(qwen_gguf: Path) -> None:
    with GgufFile(qwen_gguf) as file:
        ours = gguf_tokenizer(file)
        tokens, kinds, merges = _vocabulary(file)
    published = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens) if kinds[index] == TokenKind.NORMAL},
        merges=[tuple(merge.split(" ")) for merge in merges],
    )
    for token, kind in zip(tokens, kinds, strict=True):  # one by one, because they are numbered as they come
        if kind in (TokenKind.CONTROL, TokenKind.USER_DEFINED):
            published.add_tokens(AddedToken(token, special=kind == TokenKind.CONTROL, normalized=False))
    for text in TEXTS:
        ids = ours.encode(text).ids
        assert ids == published.encode(text), text
        assert ours.decode(ids, skip_special_tokens=False) == published.decode(ids)
    theirs = _llama_cpp_ids("qwen2.5-coder-1.5b")
    assert {text: ours.encode(text).ids for text in theirs} == theirs


def _llama_cpp_ids(model: str) -> dict[str, list[int]]:
    ids: dict[str, list[int]] = json.loads(LLAMA_CPP_IDS.read_text(encoding="utf-8"))[model]
    return ids


def _vocabulary(file: GgufFile) -> tuple[list[str], list[int], list[str]]:
    metadata: Any = file.metadata
    kinds = metadata["tokenizer.ggml.token_type"].tolist()
    return metadata["tokenizer.ggml.tokens"], kinds, metadata["tokenizer.ggml.merges"]


def _of_kind(tokens: list[str], kinds: list[int], wanted: int) -> list[str]:
    return [token for token, kind in zip(tokens, kinds, strict=True) if kind == wanted]


def _published_smollm2(file: GgufFile) -> Tokenizer:
    """SmolLM2's `tokenizer.json`, put together from its published rules and the file's vocabulary."""
    tokens, kinds, merges = _vocabulary(file)
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": tokens.index(token), "content": token, **flags} for token in _of_kind(tokens, kinds, 3)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    return Tokenizer.from_str(json.dumps(content))
