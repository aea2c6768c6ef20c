from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from openhearth.models.chat.detokenise import Detokeniser, TokenBytes
from openhearth.models.chat.stop import StopFilter


def byte_level() -> Tokenizer:
    """A byte-level tokenizer without merges: each byte is a token."""
    vocabulary = {char: id_ for id_, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("<end>", special=True), AddedToken("<call>", special=True)])
    tokenizer.add_tokens([AddedToken("<user>", special=False)])
    return tokenizer


def sentencepiece() -> Tokenizer:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁hello": 256, "▁": 257}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_text_comes_back_character_by_character(make: object, text: str) -> None:
    tokenizer = make()  # type: ignore[operator]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
    ids = tokenizer.encode(text).ids if make is byte_level else ids
    detokeniser = Detokeniser(TokenBytes(tokenizer))
    pieces = [detokeniser.feed([id_]) for id_ in ids]
    assert not detokeniser.pending
    assert "".join(pieces) + detokeniser.finish() == text
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in text


def test_control_tokens_are_silent_unless_kept() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("a<end>b<call>c<user>").ids
    assert Detokeniser(TokenBytes(tokenizer, keep=["<call>"])).feed(ids) == "ab<call>c<user>"


def test_sentencepiece_words_begin_with_a_space() -> None:
    assert Detokeniser(TokenBytes(sentencepiece())).feed([256, 257, 0x21, 9_999]) == " hello !"


def test_a_character_that_is_cut_off_is_marked() -> None:
    detokeniser = Detokeniser(TokenBytes(byte_level()))
    half = byte_level().encode("é").ids[:1]
    assert detokeniser.feed(half) == ""
    assert detokeniser.pending
    assert detokeniser.finish() == "\ufffd"


@settings(max_examples=300, deadline=None)
@given(st.text("abc", max_size=20), st.lists(st.text("abc", max_size=4), max_size=3), st.data())
def test_a_stop_string_is_found_wherever_the_text_is_cut(text: str, stops: list[str], data: st.DataObject) -> None:
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    stop = StopFilter(stops)
    out = "".join(stop.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert stop.hit == bool(found)
    if not found:
        assert out + stop.finish() == text
    else:
        # The first stop string to be complete ends the text; another may begin before it.
        assert text.startswith(out)
        assert any(text.startswith(wanted, len(out)) for wanted in stops if wanted)
