"""What a config.json says about a family's own traits. Names and defaults are those of transformers' config classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openhearth.models.loading.config import Experts
from openhearth.models.loading.families import Family
from openhearth.models.loading.hf_values import Values

_GEMMA: dict[str, Any] = {"tie_word_embeddings": True, "head_dim": 256, "bos_token_id": 2, "eos_token_id": 1}
_GEMMA2 = _GEMMA | {"query_pre_attn_scalar": 256, "sliding_window": 4096, "num_attention_heads": 8}
_GEMMA2 |= {"num_key_value_heads": 4, "hidden_activation": "gelu_pytorch_tanh"}

DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 4096},
    "qwen3": {"head_dim": 128},
    "smollm3": {"tie_word_embeddings": True, "rope_theta": 2_000_000.0},
    "gemma": _GEMMA,
    "gemma2": _GEMMA2 | {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
    "gemma3": _GEMMA2
    | {"vocab_size": 262_208, "max_position_embeddings": 131_072}
    | {"rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0},
    "phi3": {"rms_norm_eps": 1e-5},
    "olmo2": {"rms_norm_eps": 1e-5},
    "olmo3": {"rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "sliding_window": 4096},
    "olmoe": {"rms_norm_eps": 1e-5},
    "stablelm": {"partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5},
    "granitehybrid": {"shared_intermediate_size": 1024, "num_local_experts": 8},
}
"""What a config.json may leave out because it is its class's default."""

Fields = dict[str, Any]


def family_fields(family: Family, values: Values, common: Fields) -> Fields:
    """Fields of a DecoderConfig that go beyond, or replace, the `common` ones."""
    read = _READERS.get(family.name)
    return {} if read is None else read(values, common)


def _mistral(values: Values, common: Fields) -> Fields:
    return {"windows": _windows(values, common, ["sliding_attention"] * _layers(values, common))}


def _qwen2(values: Values, common: Fields) -> Fields:
    return {"attention_bias": True, "output_bias": False, "windows": _late_windows(values, common)}


def _qwen3(values: Values, common: Fields) -> Fields:
    return {"qk_norm": "head", "windows": _late_windows(values, common)}


def _qwen3moe(values: Values, common: Fields) -> Fields:
    dense = set(values.wholes("mlp_only_layers") or ())
    step = values.whole("decoder_sparse_step", default=1)
    if step < 1:
        raise values.wrong("decoder_sparse_step", "a whole number from 1")
    dense |= {index for index in range(_layers(values, common)) if (index + 1) % step}
    experts = _experts(values, values.whole("moe_intermediate_size"), tuple(sorted(dense)))
    window = values.whole("sliding_window", default=0) if values.flag("use_sliding_window", default=False) else 0
    windows = (window,) * _layers(values, common) if window else ()
    return {"qk_norm": "head", "windows": windows, "experts": experts}


def _smollm3(values: Values, common: Fields) -> Fields:
    layers = _layers(values, common)
    interval = values.whole("no_rope_layer_interval", default=4)
    if interval < 1:
        raise values.wrong("no_rope_layer_interval", "a whole number from 1")
    rotated = values.wholes("no_rope_layers") or [int((index + 1) % interval != 0) for index in range(layers)]
    if len(rotated) < layers:
        raise values.wrong("no_rope_layers", f"a list of {layers}")
    unrotated = tuple(index for index in range(layers) if not rotated[index])
    types = ["sliding_attention" if index in unrotated else "full_attention" for index in range(layers)]
    sliding = values.flag("use_sliding_window", default=False)
    return {"unrotated": unrotated, "windows": _windows(values, common, types) if sliding else ()}


def _granite(values: Values, common: Fields) -> Fields:
    scaling = values.real("logits_scaling", default=1.0)
    if not scaling > 0:
        raise values.wrong("logits_scaling", "a positive number")
    return {
        "embedding_multiplier": values.real("embedding_multiplier", default=1.0),
        "residual_multiplier": values.real("residual_multiplier", default=1.0),
        "attention_scale": values.real("attention_multiplier", default=1.0),
        "logit_multiplier": 1.0 / scaling,
    }


def _granite_hybrid(values: Values, common: Fields) -> Fields:
    layers = _layers(values, common)
    types = values.texts("layer_types") or values.texts("layers_block_type") or []
    if len(types) != layers or set(types) - {"attention", "full_attention"}:
        raise values.not_ours("a Granite with state-space layers")
    if values.whole("num_local_experts"):
        raise values.not_ours("a Granite with experts")
    positions = values.text("position_embedding_type", "none")
    return _granite(values, common) | {
        "intermediate_size": values.whole("shared_intermediate_size"),
        "unrotated": () if positions == "rope" else tuple(range(layers)),
    }


def _gemma(values: Values, common: Fields) -> Fields:
    if values.flag("use_bidirectional_attention", default=False):
        raise values.not_ours("attention to later positions")
    # Its first checkpoints say "gelu" and mean the tanh form.
    return {"activation": "gelu", "embedding_multiplier": float(max(common["hidden_size"], 0)) ** 0.5}


def _gemma2(values: Values, common: Fields) -> Fields:
    types = ["full_attention" if index % 2 else "sliding_attention" for index in range(_layers(values, common))]
    return _gemma_around(values, common, types)


def _gemma3(values: Values, common: Fields) -> Fields:
    pattern = values.whole("sliding_window_pattern", default=6)
    if pattern < 1:
        raise values.wrong("sliding_window_pattern", "a whole number from 1")
    types = [
        "sliding_attention" if (index + 1) % pattern else "full_attention" for index in range(_layers(values, common))
    ]
    return _gemma_around(values, common, types) | {"qk_norm": "head"}


def _gemma_around(values: Values, common: Fields, types: list[str]) -> Fields:
    scalar = values.real("query_pre_attn_scalar")
    if not scalar > 0:
        raise values.wrong("query_pre_attn_scalar", "a positive number")
    return _gemma(values, common) | {
        "norm_place": "around",
        "attention_scale": scalar**-0.5,
        "attention_cap": values.optional_real("attn_logit_softcapping"),
        "logit_cap": values.optional_real("final_logit_softcapping"),
        "windows": _windows(values, common, types),
    }


def _olmo2(values: Values, common: Fields) -> Fields:
    return {"norm_place": "after", "qk_norm": "whole"}


def _olmo3(values: Values, common: Fields) -> Fields:
    types = ["sliding_attention" if (index + 1) % 4 else "full_attention" for index in range(_layers(values, common))]
    return _olmo2(values, common) | {"windows": _windows(values, common, types)}


def _olmoe(values: Values, common: Fields) -> Fields:
    if values.raw.get("clip_qkv") is not None:
        raise values.not_ours("clip_qkv")
    return {"qk_norm": "whole", "experts": _experts(values, common["intermediate_size"], ())}


def _stablelm(values: Values, common: Fields) -> Fields:
    for trait in ("use_parallel_residual", "qk_layernorm"):
        if values.flag(trait, default=False):
            raise values.not_ours(trait)
    return {
        "norm": "layer",
        "rms_eps": values.real("layer_norm_eps"),
        "attention_bias": values.flag("use_qkv_bias", default=False),
        "output_bias": False,
    }


_READERS: dict[str, Callable[[Values, Fields], Fields]] = {
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3moe,
    "smollm3": _smollm3,
    "granite": _granite,
    "granitehybrid": _granite_hybrid,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _mistral,
    "olmo2": _olmo2,
    "olmo3": _olmo3,
    "olmoe": _olmoe,
    "stablelm": _stablelm,
}


def _experts(values: Values, size: int, dense: tuple[int, ...]) -> Experts:
    count = values.whole("num_experts", default=values.whole("num_local_experts", default=0))
    return Experts(
        count=count,
        used=values.whole("num_experts_per_tok"),
        size=size,
        normalised=values.flag("norm_topk_prob", default=False),
        dense=dense,
    )


def _late_windows(values: Values, common: Fields) -> tuple[int, ...]:
    """Qwen's: a window in the layers from `max_window_layers` on, if windows are used at all."""
    if not values.flag("use_sliding_window", default=False):
        return ()
    first = values.whole("max_window_layers", default=28)
    layers = _layers(values, common)
    types = ["sliding_attention" if index >= first else "full_attention" for index in range(layers)]
    return _windows(values, common, types)


def _windows(values: Values, common: Fields, types: list[str]) -> tuple[int, ...]:
    """Each layer's window: `types`, unless the file names its own, say which layers have one."""
    window = values.whole("sliding_window", default=0)
    types = values.texts("layer_types") or types
    if unknown := set(types) - {"sliding_attention", "full_attention"}:
        raise values.not_ours(f"a layer of kind {min(unknown)!r}")
    if len(types) != _layers(values, common):
        raise values.wrong("layer_types", f"a list of {common['layers']}")
    return tuple(window if kind == "sliding_attention" else 0 for kind in types) if window else ()


def _layers(values: Values, common: Fields) -> int:
    """The number of layers, when something is made for each of them: not yet checked, so bounded here."""
    layers: int = common["layers"]
    if not 0 < layers <= _MOST_LAYERS:
        raise values.wrong("num_hidden_layers", f"a whole number from 1 to {_MOST_LAYERS}")
    return layers


_MOST_LAYERS = 4096
