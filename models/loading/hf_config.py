"""From a Hugging Face folder's `config.json` and its companions to a DecoderConfig."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import Architecture, DecoderConfig, unsupported_architecture

CLASSES: dict[str, Architecture] = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
_MAX_JSON_BYTES = 64 << 20


def hugging_face_config(folder: Path) -> DecoderConfig:
    """Read `config.json`, and `generation_config.json` and `tokenizer_config.json` where they exist.

    Raises ModelUnavailableError for what a plain Llama or Qwen2 decoder does not do, MalformedFileError for nonsense.
    """
    values = _Values(folder / "config.json", read_json(folder / "config.json"))
    architecture = _architecture(values)
    _refuse_extras(values, architecture)
    generation = read_json(folder / "generation_config.json", optional=True)
    tokenizer = read_json(folder / "tokenizer_config.json", optional=True)
    hidden, heads = values.whole("hidden_size"), values.whole("num_attention_heads")
    theta, scaling = _rope(values)
    bos = _token_ids(values, "bos_token_id", values.raw.get("bos_token_id"))
    ends = (
        *_token_ids(values, "eos_token_id", generation.get("eos_token_id")),
        *_token_ids(values, "eos_token_id", values.raw.get("eos_token_id")),
    )
    return DecoderConfig(
        architecture=architecture,
        vocab_size=values.whole("vocab_size"),
        hidden_size=hidden,
        intermediate_size=values.whole("intermediate_size"),
        layers=values.whole("num_hidden_layers"),
        heads=heads,
        kv_heads=values.whole("num_key_value_heads", default=heads),
        head_dim=values.whole("head_dim", default=hidden // heads if heads else 0),
        rms_eps=values.real("rms_norm_eps", default=1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        max_context=_context(values),
        tie_embeddings=values.flag("tie_word_embeddings", default=False),
        attention_bias=architecture == "qwen2",
        bos_id=bos[0] if bos else None,
        eos_ids=tuple(dict.fromkeys(ends)),
        add_bos=tokenizer.get("add_bos_token") is True,
    )


def read_json(file: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object; an empty one when the file may be missing and is. Raises MalformedFileError."""
    if not file.is_file():
        if optional:
            return {}
        raise ModelUnavailableError(f"There is no {file}.", hint="Fetch it from where the weights came from.")
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise MalformedFileError(f"{file} is larger than {_MAX_JSON_BYTES} bytes.", hint="Fetch the file again.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedFileError(f"{file} is not valid JSON: {error}", hint="Fetch the file again.") from error
    if not isinstance(content, dict):
        raise MalformedFileError(f"{file} does not hold a JSON object.", hint="Fetch the file again.")
    return content


class _Values:
    """Typed look-ups that name the file and the key when they fail. JSON's null counts as missing."""

    def __init__(self, file: Path, raw: dict[str, Any]) -> None:
        self.file = file
        self.raw = raw

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "a whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def wrong(self, key: str, wanted: str) -> MalformedFileError:
        return MalformedFileError(f"{self.file}: {key} is not {wanted}.", hint="Fetch the file again.")

    def unsupported(self, what: str) -> ModelUnavailableError:
        return ModelUnavailableError(
            f"{self.file}: {what} is not supported.", hint="Choose a plain Llama, SmolLM or Qwen2 model."
        )

    def _get(self, key: str, default: Any) -> Any:
        value = self.raw.get(key)
        if value is not None:
            return value
        if default is None:
            raise MalformedFileError(f"{self.file} lacks {key}.", hint="Fetch the file again.")
        return default


def _architecture(values: _Values) -> Architecture:
    classes = values.raw.get("architectures")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise values.wrong("architectures", "a list of class names")
    if classes[0] not in CLASSES:
        raise unsupported_architecture(classes[0])
    return CLASSES[classes[0]]


def _refuse_extras(values: _Values, architecture: Architecture) -> None:
    if values.raw.get("hidden_act", "silu") != "silu":
        raise values.unsupported(f"the activation {values.raw['hidden_act']!r}")
    if values.raw.get("quantization_config") is not None:
        raise values.unsupported("a checkpoint that is already quantised")
    if values.flag("mlp_bias", default=False):
        raise values.unsupported("mlp_bias")
    if architecture == "llama" and values.flag("attention_bias", default=False):
        raise values.unsupported("attention_bias")


def _context(values: _Values) -> int:
    length = values.whole("max_position_embeddings")
    if values.flag("use_sliding_window", default=False) and values.raw.get("sliding_window") is not None:
        # Within one window, attending to the window and to everything is the same.
        return min(length, values.whole("sliding_window"))
    return length


def _rope(values: _Values) -> tuple[float, dict[str, Any] | None]:
    """Theta and scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling` before it."""
    parameters = values.raw.get("rope_parameters")
    if parameters is None:
        parameters = values.raw.get("rope_scaling")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise values.wrong("rope_parameters", "an object")
    rest = dict(parameters)
    theta = rest.pop("rope_theta", values.raw.get("rope_theta", 10_000.0))
    if isinstance(theta, bool) or not isinstance(theta, int | float):
        raise values.wrong("rope_theta", "a number")
    if rest.pop("partial_rotary_factor", 1.0) != 1.0:
        raise values.unsupported("partial_rotary_factor")
    kind = rest.pop("type", None)
    kind = rest.pop("rope_type", kind) or "default"
    return float(theta), None if kind == "default" else {"rope_type": kind, **rest}


def _token_ids(values: _Values, key: str, value: Any) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int for token in ids):
        raise values.wrong(key, "a token id or a list of them")
    return tuple(ids)
