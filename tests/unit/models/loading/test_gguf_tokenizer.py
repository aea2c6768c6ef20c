from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_tokenizer import gguf_tokenizer
from openhearth.models.loading.pre_tokenizers import RULES

Writer = Callable[..., Path]


def build(path: Path) -> Tokenizer:
    with GgufFile(path) as file:
        return gguf_tokenizer(file)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([i], skip_special_tokens=False) for i in tokenizer.encode(text).ids]


def test_merges_specials_and_bytes(tiny_gguf: Writer) -> None:
    tokenizer = build(tiny_gguf())
    assert pieces(tokenizer, "hello hello<|im_end|>aa<tool_call>") == [
        "hello",
        " hello",
        "<|im_end|>",
        "aa",
        "<tool_call>",
    ]
    text = "grün 日本 \x00\x7f\t\r\n 👩‍👩‍👧"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_control_tokens_are_special_and_user_defined_ones_are_not(tiny_gguf: Writer) -> None:
    tokenizer = build(tiny_gguf())
    ids = tokenizer.encode("<|im_start|>a<tool_call>").ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<tool_call>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<|im_start|>a<tool_call>"


def test_unused_tokens_are_left_out(tiny_gguf: Writer) -> None:
    tokenizer = build(tiny_gguf())
    assert tokenizer.token_to_id("[PAD0]") is None
    assert tokenizer.decode(tokenizer.encode("[PAD0]").ids) == "[PAD0]"


def test_nothing_is_added(tiny_gguf: Writer) -> None:
    tokenizer = build(tiny_gguf(metadata={"tokenizer.ggml.add_bos_token": True}))
    assert tokenizer.encode("").ids == []
    assert pieces(tokenizer, "hello") == ["hello"]


@pytest.mark.parametrize("pre", [*RULES, None])
def test_all_rules_build_save_and_reload(tiny_gguf: Writer, pre: str | None) -> None:
    tokenizer = build(tiny_gguf(pre=pre))
    again = Tokenizer.from_str(tokenizer.to_str())
    for text in ("hello 12345 it's  here\n\n", "  a1b22c333", "日本語 can't CAN'T"):
        ids = tokenizer.encode(text).ids
        assert again.encode(text).ids == ids
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-2", ["a", "Ġ12345", "'s", "Ġ", "ĠB", "\u010a\u010a"]),
        ("smollm", ["a", "Ġ", "1", "2", "3", "4", "5", "'s", "Ġ", "ĠB", "\u010a\u010a"]),
        ("qwen2", ["a", "Ġ", "1", "2", "3", "4", "5", "'s", "Ġ", "ĠB", "\u010a\u010a"]),
        ("llama-bpe", ["a", "Ġ", "123", "45", "'s", "Ġ", "ĠB", "\u010a\u010a"]),
    ],
)
def test_words_of_each_family(tiny_gguf: Writer, pre: str, words: list[str]) -> None:
    splitter: Any = build(tiny_gguf(pre=pre)).pre_tokenizer
    assert [word for word, _ in splitter.pre_tokenize_str("a 12345's  B\n\n")] == words


def test_kinds_beyond_support(tiny_gguf: Writer) -> None:
    with pytest.raises(ModelUnavailableError, match="'bert'") as caught:
        build(tiny_gguf(metadata={"tokenizer.ggml.model": "bert"}))
    assert "gpt2" in caught.value.hint
    with pytest.raises(ModelUnavailableError, match="'poro-chat'") as caught:
        build(tiny_gguf(pre="poro-chat"))
    assert "qwen2" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tokenizer.ggml.merges": ["h e", "whole"]}, "'whole' is not two tokens"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "is not two tokens"),
        ({"tokenizer.ggml.merges": [" b"]}, "is not two tokens"),
        ({"tokenizer.ggml.merges": ["h zz"]}, "do not fit the vocabulary"),
        ({"tokenizer.ggml.merges": [1, 2]}, "not an array of strings"),
        ({"tokenizer.ggml.token_type": [1, 2]}, "is not an array of"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"], "tokenizer.ggml.token_type": [1, 1, 1]}, "occurs twice"),
    ],
)
def test_damaged_vocabularies(tiny_gguf: Writer, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        build(tiny_gguf(metadata=change))
