from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_config import gguf_config

Writer = Callable[..., Path]


def read(path: Path) -> DecoderConfig:
    with GgufFile(path) as file:
        return gguf_config(file)


def test_llama(tiny_gguf: Writer) -> None:
    with GgufFile(tiny_gguf()) as file:
        tokens = file.metadata["tokenizer.ggml.tokens"]
        config = gguf_config(file)
    assert isinstance(tokens, list)
    assert config == DecoderConfig(
        architecture="llama",
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        rms_eps=1e-6,
        rope_theta=10_000.0,
        rope_scaling=None,
        max_context=128,
        tie_embeddings=True,
        attention_bias=False,
        bos_id=tokens.index("<|im_start|>"),
        eos_ids=(tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")),
        add_bos=False,
    )


def test_qwen2_has_biases_and_may_have_a_head_of_its_own(tiny_gguf: Writer) -> None:
    config = read(tiny_gguf("qwen2", tied=False, pre="qwen2"))
    assert (config.architecture, config.attention_bias, config.tie_embeddings) == ("qwen2", True, False)


def test_rope(tiny_gguf: Writer) -> None:
    scaled = {
        "llama.rope.freq_base": 500_000.0,
        "llama.rope.scaling.type": "linear",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 64,
    }
    config = read(tiny_gguf(metadata=scaled))
    assert config.rope_theta == 500_000.0
    assert config.rope_scaling == {"rope_type": "linear", "factor": 4.0}
    factors = np.array([1, 1, 2, 8], np.float32)
    assert read(tiny_gguf(extra={"rope_freqs.weight": factors})).rope_scaling == {
        "rope_type": "factors",
        "factors": [1.0, 1.0, 2.0, 8.0],
    }


def test_beginning_of_text(tiny_gguf: Writer) -> None:
    assert read(tiny_gguf(metadata={"tokenizer.ggml.add_bos_token": True})).add_bos
    assert read(tiny_gguf(pre="llama-bpe")).add_bos
    assert not read(tiny_gguf(pre="llama-bpe", metadata={"tokenizer.ggml.add_bos_token": False})).add_bos


def test_architectures_beyond_support(tiny_gguf: Writer) -> None:
    with pytest.raises(ModelUnavailableError, match="rwkv7") as caught:
        read(tiny_gguf("rwkv7"))
    assert "Qwen2" in caught.value.hint
    with pytest.raises(ModelUnavailableError, match="4 of 8 components"):
        read(tiny_gguf(metadata={"llama.rope.dimension_count": 4}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"llama.block_count": "two"}, "llama.block_count is not one whole number"),
        ({"llama.embedding_length": True}, "llama.embedding_length is not"),
        ({"llama.attention.head_count": 0}, "heads is 0"),
        ({"llama.attention.head_count_kv": [2, 2]}, "head_count_kv is not one whole number"),
        ({"llama.attention.layer_norm_rms_epsilon": "small"}, "is not a number"),
        ({"tokenizer.ggml.tokens": [1, 2, 3]}, "not an array of strings"),
        ({"tokenizer.ggml.token_type": [1, 2]}, "token_type is not an array of"),
        ({"tokenizer.ggml.eos_token_id": 100_000}, "eos_token_id is not a token id below"),
        ({"tokenizer.ggml.add_bos_token": 1}, "is not true or false"),
        ({"llama.rope.scaling.type": "yarn"}, "lacks llama.rope.scaling.factor"),
    ],
)
def test_metadata_of_the_wrong_kind(tiny_gguf: Writer, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        read(tiny_gguf(metadata=change))


@pytest.mark.parametrize("key", ["llama.block_count", "llama.context_length", "tokenizer.ggml.tokens"])
def test_metadata_that_is_missing(tiny_gguf: Writer, key: str) -> None:
    with pytest.raises(MalformedFileError, match=f"lacks {key}"):
        read(tiny_gguf(leave_out=[key]))
