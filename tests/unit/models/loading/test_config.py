from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.tiny import decoder_config

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig, Experts
from openhearth.models.loading.tensors import checkpoint_tensors

CONFIG = decoder_config()
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def test_json_round_trip() -> None:
    assert DecoderConfig.from_json(CONFIG.to_json()) == CONFIG
    plain = dataclasses.replace(CONFIG, rope_scaling=None, bos_id=0, eos_ids=(), architecture="llama")
    assert DecoderConfig.from_json(plain.to_json()) == plain
    odd = dataclasses.replace(
        CONFIG,
        windows=(4, 0),
        unrotated=(1,),
        rotary_dim=4,
        window_theta=100.0,
        experts=Experts(4, 2, 8, True, (1,)),
    )
    assert DecoderConfig.from_json(odd.to_json()) == odd


def test_values_with_a_default_may_be_missing() -> None:
    values = json.loads(CONFIG.to_json())
    for name in ("norm", "windows", "experts"):
        del values[name]
    assert DecoderConfig.from_json(json.dumps(values)) == CONFIG


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "layer"},
        {"qk_norm": "head"},
        {"activation": "gelu"},
        {"windows": (8, 8)},
        {"unrotated": (0,)},
        {"attention_scale": 0.5},
        {"residual_multiplier": 0.5},
        {"experts": Experts(4, 2, 8, True)},
    ],
)
def test_standard_layers(change: dict[str, Any]) -> None:
    assert CONFIG.is_standard(0)
    assert not dataclasses.replace(CONFIG, **change).is_standard(0)
    mixed = dataclasses.replace(CONFIG, windows=(8, 0), unrotated=(0,), experts=Experts(4, 2, 8, True, (1,)))
    assert [mixed.is_standard(index) for index in range(2)] == [False, True]


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
        ({"rope_theta": 1.0, "rope_scaling": YARN}, "has no meaning"),
        ({"rope_scaling": YARN | {"attention_factor": -1.0}}, "attention_factor is -1.0"),
        ({"rope_scaling": YARN | {"factor": 10**400}}, "factor is"),
        ({"rope_scaling": YARN | {"rope_type": "dynamic"}, "rotary_dim": 2}, "has no meaning"),
        ({"rope_scaling": YARN | {"rope_type": "longrope"}}, "short_factor are not 4"),
        ({"rotary_dim": 5}, "5 components cannot"),
        ({"rotary_dim": 10}, "10 components cannot"),
        ({"rotary_dim": 0}, "rotary_dim is 0"),
        ({"layers": 5000}, "layers is 5000"),
        ({"windows": (4,)}, "1 windows for 2 layers"),
        ({"windows": (4, -1)}, "a window is -1"),
        ({"unrotated": (2,)}, "an unrotated layer is 2"),
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"attention_cap": 0.0}, "attention_cap is 0.0"),
        ({"embedding_multiplier": float("nan")}, "embedding_multiplier is nan"),
        ({"experts": {}}, "experts is"),
        ({"experts": Experts(4, 5, 8, True)}, "experts used is 5"),
        ({"experts": Experts(5000, 5, 8, True)}, "number of experts is 5000"),
        ({"experts": Experts(4, 2, 8, True, (2,))}, "without experts is 2"),
        ({"bos_id": 100}, "token id 100"),
        ({"eos_ids": (3, -1)}, "token id -1"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        dataclasses.replace(CONFIG, **change)


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        dataclasses.replace(CONFIG, architecture="rwkv")
    assert "rwkv" in caught.value.message
    assert "Llama" in caught.value.hint
    assert "Qwen2" in caught.value.hint


def test_unknown_rope_scaling_names_the_known_kinds() -> None:
    with pytest.raises(ModelUnavailableError, match="spiral") as caught:
        dataclasses.replace(CONFIG, rope_scaling={"rope_type": "spiral"})
    assert "llama3" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", json.dumps({"architecture": "llama"})])
def test_damaged_json(text: str) -> None:
    with pytest.raises(MalformedFileError):
        DecoderConfig.from_json(text)


def test_damaged_values_in_json() -> None:
    values = json.loads(CONFIG.to_json())
    for key, value in {"eos_ids": 3, "layers": "2", "vocab_size": None, "windows": 3, "experts": {"count": 3}}.items():
        with pytest.raises(MalformedFileError, match="keys" if key == "experts" else key):
            DecoderConfig.from_json(json.dumps(values | {key: value}))


def test_checkpoint_tensors() -> None:
    shapes = dict(checkpoint_tensors(CONFIG))
    assert next(iter(shapes)) == "model.embed_tokens.weight"
    assert list(shapes)[-1] == "lm_head.weight"
    assert len(shapes) == 3 + 2 * 12
    assert shapes["model.layers.1.self_attn.k_proj.weight"] == (16, 32)
    assert shapes["model.layers.1.self_attn.k_proj.bias"] == (16,)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (32, 64)
    tied = dict(checkpoint_tensors(dataclasses.replace(CONFIG, tie_embeddings=True, attention_bias=False)))
    assert "lm_head.weight" not in tied
    assert not [name for name in tied if name.endswith("bias")]
