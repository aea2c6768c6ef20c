from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.hf_config import hugging_face_config
from openhearth.models.loading.hf_values import NotOurs

SIZES: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA = SIZES | {
    "architectures": ["LlamaForCausalLM"],
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write(folder: Path, config: dict[str, Any], **others: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_llama(tmp_path: Path) -> None:
    config = hugging_face_config(write(tmp_path, LLAMA))
    assert (config.architecture, config.attention_bias, config.tie_embeddings) == ("llama", False, True)
    assert (config.heads, config.kv_heads, config.head_dim) == (4, 2, 8)
    assert (config.rms_eps, config.rope_theta, config.rope_scaling) == (1e-5, 500_000.0, None)
    assert (config.bos_id, config.eos_ids, config.add_bos) == (1, (2,), False)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_what_transformers_writes_is_read(tmp_path: Path, kind: str) -> None:
    scaling = {"rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    theirs = getattr(transformers, f"{kind}Config")(
        **SIZES, rope_parameters=scaling, architectures=[f"{kind}ForCausalLM"]
    )
    theirs.save_pretrained(tmp_path)
    ours = hugging_face_config(tmp_path)
    assert ours.rope_theta == 1e6
    assert ours.rope_scaling == {name: value for name, value in scaling.items() if name != "rope_theta"}
    assert ours.rms_eps == theirs.rms_norm_eps
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.attention_bias == (kind == "Qwen2")
    assert ours.head_dim == 8


@pytest.mark.parametrize(
    ("given", "theta", "scaling"),
    [
        ({}, 10_000.0, None),
        ({"rope_theta": 5e5}, 5e5, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, 1e6, None),
        (
            {"rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2}},
            7.0,
            {"rope_type": "linear", "factor": 2},
        ),
        ({"rope_theta": 7.0, "rope_scaling": None}, 7.0, None),
    ],
)
def test_rope_in_old_and_new_form(
    tmp_path: Path, given: dict[str, Any], theta: float, scaling: dict[str, Any] | None
) -> None:
    config = {name: value for name, value in LLAMA.items() if name != "rope_theta"} | given
    ours = hugging_face_config(write(tmp_path, config))
    assert (ours.rope_theta, ours.rope_scaling) == (theta, scaling)


def test_end_tokens_come_from_both_files(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        LLAMA,
        generation_config={"eos_token_id": [5, 2, 6]},
        tokenizer_config={"add_bos_token": True},
    )
    config = hugging_face_config(folder)
    assert config.eos_ids == (5, 2, 6)
    assert config.add_bos


def test_windows(tmp_path: Path) -> None:
    qwen = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "max_window_layers": 1}
    assert hugging_face_config(write(tmp_path, qwen | {"use_sliding_window": True})).windows == (0, 64)
    assert hugging_face_config(write(tmp_path, qwen | {"use_sliding_window": False})).windows == ()
    mistral = LLAMA | {"architectures": ["MistralForCausalLM"]}
    assert hugging_face_config(write(tmp_path, mistral | {"sliding_window": 16})).windows == (16, 16)
    for window in (None, 128, 4096):
        assert hugging_face_config(write(tmp_path, mistral | {"sliding_window": window})).windows == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"hidden_act": "relu"}, "relu"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantised"),
        ({"architectures": ["Gemma2ForCausalLM"], "layer_types": ["chunked_attention"] * 2}, "chunked_attention"),
        ({"architectures": ["StableLmForCausalLM"], "use_parallel_residual": True}, "use_parallel_residual"),
        ({"architectures": ["OlmoeForCausalLM"], "clip_qkv": 8.0}, "clip_qkv"),
        ({"architectures": ["GraniteMoeHybridForCausalLM"], "layer_types": ["mamba", "attention"]}, "state-space"),
    ],
)
def test_what_is_not_supported(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelUnavailableError, match=problem) as caught:
        hugging_face_config(write(tmp_path, LLAMA | change))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"architectures": None}, "architectures"),
        ({"architectures": [3]}, "architectures"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_attention_heads": 0}, "heads is 0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"rope_parameters": 3}, "rope_parameters"),
        ({"rope_theta": "big"}, "rope_theta"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"eos_token_id": 999}, "token id 999"),
        ({"rms_norm_eps": 10**400}, "a number that a float can hold"),
        ({"num_hidden_layers": 10**9}, "layers is"),
        (
            {"architectures": ["MistralForCausalLM"], "num_hidden_layers": 10**9, "sliding_window": 4},
            "num_hidden_layers",
        ),
        ({"architectures": ["Gemma2ForCausalLM"], "layer_types": ["full_attention"]}, "layer_types"),
        ({"architectures": ["Gemma2ForCausalLM"], "query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": []}, "text_config"),
        ({"architectures": ["StableLmForCausalLM"], "partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "4"}}, "factor is '4'"),
    ],
)
def test_what_is_wrong(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFileError, match=problem):
        hugging_face_config(write(tmp_path, LLAMA | change))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"config\.json"):
        hugging_face_config(tmp_path)
    for text in ("{", "[]", "\ufeff{}", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(MalformedFileError):
            hugging_face_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(MalformedFileError):
        hugging_face_config(tmp_path)


def published(tmp_path: Path, values: dict[str, Any]) -> DecoderConfig:
    """Read a config.json in the form of before transformers 5, as most checkpoints on the hub have it."""
    return hugging_face_config(write(tmp_path, values))


def test_gemma_3_with_eyes_as_published(tmp_path: Path) -> None:
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    values = {"architectures": ["Gemma3ForConditionalGeneration"], "eos_token_id": [1, 106], "text_config": text}
    config = published(tmp_path, values | {"vision_config": {"hidden_size": 1152}})
    assert (config.heads, config.kv_heads, config.head_dim, config.vocab_size) == (8, 4, 256, 262_208)
    assert (config.windows.count(1024), config.windows[5], len(config.windows)) == (29, 0, 34)
    assert (config.rope_theta, config.window_theta) == (1e6, 10_000.0)
    assert config.rope_scaling == {"rope_type": "linear", "factor": 8.0}
    assert (config.attention_scale, config.attention_cap, config.logit_cap) == (1 / 16, None, None)
    assert (config.max_context, config.tie_embeddings, config.eos_ids) == (131_072, True, (1, 106))


def test_phi_3_as_published(tmp_path: Path) -> None:
    values = LLAMA | {
        "architectures": ["Phi3ForCausalLM"],
        "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4096,
        "sliding_window": 262_144,
    }
    factors = {"long_factor": [1.0, 2.0, 3.0, 4.0], "short_factor": [1.0, 1.0, 1.5, 2.0]}
    for kind in ("su", "longrope", "yarn"):
        config = published(tmp_path, values | {"rope_scaling": {"type": kind, **factors}})
        assert config.rope_scaling == {
            "rope_type": "longrope",
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            **factors,
        }
        assert config.windows == ()
    narrow = {"long_factor": [1.0, 2.0], "short_factor": [1.0, 1.0], "type": "longrope"}
    assert published(tmp_path, values | {"rope_scaling": narrow, "partial_rotary_factor": 0.5}).rotary_dim == 4


def test_yarn_extends_the_context(tmp_path: Path) -> None:
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    config = published(tmp_path, LLAMA | {"architectures": ["Qwen2ForCausalLM"], "rope_scaling": yarn})
    assert config.max_context == 512
    assert config.rope_scaling == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


def test_what_only_transformers_may_run_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotOurs):
        published(tmp_path, LLAMA | {"architectures": ["CohereForCausalLM"]})
