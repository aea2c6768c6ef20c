from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig, tensor_shapes

CONFIG = DecoderConfig(
    architecture="qwen2",
    vocab_size=100,
    hidden_size=32,
    intermediate_size=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    rms_eps=1e-6,
    rope_theta=1e6,
    rope_scaling={"rope_type": "linear", "factor": 2.0},
    max_context=128,
    tie_embeddings=False,
    attention_bias=True,
    bos_id=None,
    eos_ids=(3, 4),
    add_bos=False,
)


def test_json_round_trip() -> None:
    assert DecoderConfig.from_json(CONFIG.to_json()) == CONFIG
    plain = dataclasses.replace(CONFIG, rope_scaling=None, bos_id=0, eos_ids=(), architecture="llama")
    assert DecoderConfig.from_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"layers": True}, "layers is True"),
        ({"heads": 2.0}, "heads is 2.0"),
        ({"intermediate_size": 1 << 40}, "intermediate_size is"),
        ({"kv_heads": 3}, "cannot share 3"),
        ({"head_dim": 7}, "even number"),
        ({"rms_eps": 0.0}, "rms_eps is 0.0"),
        ({"rope_theta": float("inf")}, "rope_theta is inf"),
        ({"rope_theta": float("nan")}, "rope_theta is nan"),
        ({"tie_embeddings": 1}, "tie_embeddings is 1"),
        ({"rope_scaling": [2]}, "rope_scaling is"),
        ({"rope_scaling": {"factor": 2.0}}, "with a rope_type"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor is None"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "original_max_position_embeddings is None"),
        ({"rope_scaling": {"rope_type": "factors", "factors": [1.0]}}, "are not 4 positive numbers"),
        ({"rope_scaling": {"rope_type": "factors", "factors": [1.0, 2.0, 3.0, 0.0]}}, "are not 4 positive numbers"),
        ({"bos_id": 100}, "token id 100"),
        ({"eos_ids": (3, -1)}, "token id -1"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        dataclasses.replace(CONFIG, **change)


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        dataclasses.replace(CONFIG, architecture="rwkv")  # type: ignore[arg-type]
    assert "rwkv" in caught.value.message
    assert "llama" in caught.value.hint
    assert "qwen2" in caught.value.hint


def test_unknown_rope_scaling_names_the_known_kinds() -> None:
    with pytest.raises(ModelUnavailableError, match="longrope") as caught:
        dataclasses.replace(CONFIG, rope_scaling={"rope_type": "longrope"})
    assert "llama3" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", json.dumps({"architecture": "llama"})])
def test_damaged_json(text: str) -> None:
    with pytest.raises(MalformedFileError):
        DecoderConfig.from_json(text)


def test_damaged_values_in_json() -> None:
    values = json.loads(CONFIG.to_json())
    for key, value in {"eos_ids": 3, "layers": "2", "vocab_size": None}.items():
        with pytest.raises(MalformedFileError, match=key):
            DecoderConfig.from_json(json.dumps(values | {key: value}))


def test_tensor_shapes() -> None:
    shapes = tensor_shapes(CONFIG)
    assert next(iter(shapes)) == "model.embed_tokens.weight"
    assert list(shapes)[-1] == "lm_head.weight"
    assert len(shapes) == 3 + 2 * 12
    assert shapes["model.layers.1.self_attn.k_proj.weight"] == (16, 32)
    assert shapes["model.layers.1.self_attn.k_proj.bias"] == (16,)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (32, 64)
    tied = tensor_shapes(dataclasses.replace(CONFIG, tie_embeddings=True, attention_bias=False))
    assert "lm_head.weight" not in tied
    assert not [name for name in tied if name.endswith("bias")]
