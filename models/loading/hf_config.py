"""From a Hugging Face folder's `config.json` and its companions to a DecoderConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openhearth.models.loading.config import Activation, DecoderConfig, useful_windows
from openhearth.models.loading.families import BY_CLASS, Family, unsupported_architecture
from openhearth.models.loading.hf_families import DEFAULTS, family_fields
from openhearth.models.loading.hf_rope import rope_fields
from openhearth.models.loading.hf_values import NotOurs, Values, read_json

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_new": "gelu",
}


def hugging_face_config(folder: Path) -> DecoderConfig:
    """Read `config.json`, and `generation_config.json` and `tokenizer_config.json` where they exist.

    Raises NotOurs (a ModelUnavailableError) for what the engine's decoder does not do, MalformedFileError for nonsense.
    """
    outer = Values(folder / "config.json", read_json(folder / "config.json"))
    family = _family(outer)
    if outer.raw.get("quantization_config") is not None:
        raise outer.not_ours("a checkpoint that is already quantised")
    # A model that also sees keeps its text part's values in an object of their own.
    values = outer.inner("text_config") if "text_config" in outer.raw else outer
    values = Values(values.file, {**DEFAULTS.get(family.name, {}), **values.raw})
    fields = _common_fields(values, family) | rope_fields(values, family)
    fields |= family_fields(family, values, fields)
    if fields.get("window_theta") is None:
        fields["windows"] = useful_windows(fields.get("windows", ()), fields["max_context"])
    return DecoderConfig(**fields, **token_fields(folder, outer, values))


def _family(values: Values) -> Family:
    classes = values.texts("architectures")
    if not classes:
        raise values.wrong("architectures", "a list of class names")
    if classes[0] not in BY_CLASS:
        error = unsupported_architecture(classes[0])
        raise NotOurs(f"{values.file}: {error.message}", hint=error.hint)
    return BY_CLASS[classes[0]]


def _common_fields(values: Values, family: Family) -> dict[str, Any]:
    hidden, heads = values.whole("hidden_size"), values.whole("num_attention_heads")
    name = values.text("hidden_activation", values.text("hidden_act", "silu"))
    if name not in ACTIVATIONS:
        raise values.not_ours(f"the activation {name!r}")
    bias = values.flag("attention_bias", default=False)
    return {
        "architecture": family.name,
        "vocab_size": values.whole("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": values.whole("intermediate_size"),
        "layers": values.whole("num_hidden_layers"),
        "heads": heads,
        "kv_heads": values.whole("num_key_value_heads", default=heads),
        "head_dim": values.whole("head_dim", default=hidden // heads if heads else 0),
        "rms_eps": values.real("rms_norm_eps", default=1e-6),
        "max_context": values.whole("max_position_embeddings"),
        "tie_embeddings": values.flag("tie_word_embeddings", default=False),
        "activation": ACTIVATIONS[name],
        "attention_bias": bias,
        "output_bias": bias,
        "mlp_bias": values.flag("mlp_bias", default=False),
    }


def token_fields(folder: Path, outer: Values, values: Values) -> dict[str, Any]:
    """Which tokens begin and end a text, from `values`, what is around them, and the companion files."""
    generation = read_json(folder / "generation_config.json", optional=True)
    tokenizer = read_json(folder / "tokenizer_config.json", optional=True)
    ends = [_token_ids(values, "eos_token_id", raw.get("eos_token_id")) for raw in (generation, outer.raw, values.raw)]
    begins = [_token_ids(values, "bos_token_id", raw.get("bos_token_id")) for raw in (values.raw, outer.raw)]
    return {
        "bos_id": next((ids[0] for ids in begins if ids), None),
        "eos_ids": tuple(dict.fromkeys(token for ids in ends for token in ids)),
        "add_bos": tokenizer.get("add_bos_token") is True,
    }


def _token_ids(values: Values, key: str, value: Any) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int for token in ids):
        raise values.wrong(key, "a token id or a list of them")
    return tuple(ids)
