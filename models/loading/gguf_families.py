"""What a GGUF file says about a family's own traits, and what it leaves to be known.

Where metadata are silent, the values are those that llama.cpp's loader assumes for the architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openhearth.errors import ModelUnavailableError
from openhearth.models.loading.config import Experts
from openhearth.models.loading.families import Family
from openhearth.models.loading.gguf_metadata import Metadata

Fields = dict[str, Any]

_LARGEST_GEMMA2 = 46
_LARGEST_GEMMA3 = 62
"""Layers of the 27B models, whose queries are scaled by another rule than those of their smaller kin."""


def family_fields(family: Family, values: Metadata, architecture: str, common: Fields) -> Fields:
    """Fields of a DecoderConfig that go beyond the `common` ones. `architecture` is the prefix of the keys."""
    read = _READERS.get(family.name)
    view = _View(values, architecture, common)
    if family.name not in _SPARSE and view.whole("expert_count", 0):
        raise ModelUnavailableError(
            f"{values.path}: mixtures of experts of the architecture {architecture!r} are not supported.",
            hint=f"Supported mixtures of experts are {' and '.join(_SPARSE)}.",
        )
    fields = {} if read is None else read(view)
    return fields if "rms_eps" in fields else fields | {"rms_eps": view.real("attention.layer_norm_rms_epsilon")}


class _View:
    """The metadata of one architecture, by short keys, and what is known already."""

    def __init__(self, values: Metadata, architecture: str, common: Fields) -> None:
        self._values, self._architecture, self.common = values, architecture, common
        self.layers: int = common["layers"]
        if not 0 < self.layers <= _MOST_LAYERS:
            raise values.wrong(f"{architecture}.block_count", f"a whole number from 1 to {_MOST_LAYERS}")

    def whole(self, key: str, default: int | None = None) -> int:
        return self._values.whole(f"{self._architecture}.{key}", default)

    def real(self, key: str, default: float | None = None) -> float:
        return self._values.real(f"{self._architecture}.{key}", default)

    def optional_real(self, key: str) -> float | None:
        return self._values.optional_real(f"{self._architecture}.{key}")

    def flag(self, key: str, default: bool) -> bool:
        return self._values.flag(f"{self._architecture}.{key}", default)

    def windows(self, pattern: int, default: int = 0) -> tuple[int, ...]:
        """A window in all layers but each `pattern`-th."""
        window = self.whole("attention.sliding_window", default)
        return tuple(window if (index + 1) % pattern else 0 for index in range(self.layers)) if window else ()


_MOST_LAYERS = 4096
_SPARSE = ("qwen3moe", "olmoe")


def _qwen3(view: _View) -> Fields:
    return {"qk_norm": "head"}


def _qwen3moe(view: _View) -> Fields:
    return {"qk_norm": "head", "experts": _experts(view, view.whole("expert_feed_forward_length"), normalised=True)}


def _smollm3(view: _View) -> Fields:
    return {"unrotated": tuple(index for index in range(view.layers) if index % 4 == 3)}


def _granite(view: _View) -> Fields:
    return {
        "embedding_multiplier": view.real("embedding_scale", 1.0),
        "residual_multiplier": view.real("residual_scale", 1.0),
        "attention_scale": view.optional_real("attention.scale"),
        "logit_multiplier": 1.0 / (view.optional_real("logit_scale") or 1.0),
    }


def _gemma(view: _View) -> Fields:
    return {"activation": "gelu", "embedding_multiplier": float(max(view.common["hidden_size"], 0)) ** 0.5}


def _gemma2(view: _View) -> Fields:
    return _gemma(view) | {
        "norm_place": "around",
        "attention_scale": _query_scale(view, _LARGEST_GEMMA2),
        "attention_cap": view.real("attn_logit_softcapping", 50.0),
        "logit_cap": view.real("final_logit_softcapping", 30.0),
        "windows": view.windows(2, default=4096),
    }


def _gemma3(view: _View) -> Fields:
    return _gemma(view) | {
        "norm_place": "around",
        "qk_norm": "head",
        "attention_scale": _query_scale(view, _LARGEST_GEMMA3),
        "logit_cap": view.optional_real("final_logit_softcapping"),
        "windows": view.windows(6, default=4096),
        "window_theta": view.real("rope.freq_base_swa", 10_000.0),
    }


def _phi3(view: _View) -> Fields:
    window = view.whole("attention.sliding_window", 0)
    return {"windows": (window,) * view.layers if window else ()}


def _olmo2(view: _View) -> Fields:
    """OLMo 3 goes by the same name, and has windows."""
    windows = view.windows(4)
    scaled = view.common["rope_scaling"] is not None
    theta = view.common["rope_theta"] if windows and scaled else None
    return {"norm_place": "after", "qk_norm": "whole", "windows": windows, "window_theta": theta}


def _olmoe(view: _View) -> Fields:
    return {"qk_norm": "whole", "experts": _experts(view, view.common["intermediate_size"], normalised=False)}


def _stablelm(view: _View) -> Fields:
    if view.flag("use_parallel_residual", False):
        raise ModelUnavailableError(
            "StableLM models with parallel residuals are not supported as GGUF.",
            hint="Name the model's Hugging Face repository; it runs through transformers.",
        )
    return {"norm": "layer", "rms_eps": view.real("attention.layer_norm_epsilon")}


_READERS: dict[str, Callable[[_View], Fields]] = {
    "qwen3": _qwen3,
    "qwen3moe": _qwen3moe,
    "smollm3": _smollm3,
    "granite": _granite,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "olmo2": _olmo2,
    "olmoe": _olmoe,
    "stablelm": _stablelm,
}


def _experts(view: _View, size: int, *, normalised: bool) -> Experts:
    return Experts(view.whole("expert_count"), view.whole("expert_used_count"), size, normalised)


def _query_scale(view: _View, largest: int) -> float | None:
    heads, hidden = view.common["heads"], view.common["hidden_size"]
    return float(hidden / heads) ** -0.5 if view.layers == largest and heads > 0 and hidden > 0 else None
