"""Rotary positions as a GGUF file describes them: in metadata, and in small tensors of frequency factors."""

from __future__ import annotations

import math
from typing import Any

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.families import Family
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_metadata import Metadata

FACTOR_TENSORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
"""Not weights: they are read here."""

_ORIGINAL = "original_max_position_embeddings"
_MOST_FACTORS = 1 << 16


def rope_fields(file: GgufFile, values: Metadata, family: Family, architecture: str, head_dim: int) -> dict[str, Any]:
    """The fields of a DecoderConfig that positions decide: theta, scaling, rotary_dim, max_context."""
    rotated = values.whole(f"{architecture}.rope.dimension_count", default=head_dim)
    if family.permuted and rotated != head_dim:
        raise ModelUnavailableError(
            f"{file.path}: {rotated} of {head_dim} components are rotated, which is unknown of {family.name} models."
        )
    context = values.whole(f"{architecture}.context_length")
    scaling = _scaling(file, values, architecture, context)
    if scaling is not None and scaling["rope_type"] == "yarn" and 1 <= scaling["factor"] <= 1 << 24:
        context = max(context, int(scaling["factor"] * scaling[_ORIGINAL]))
    return {
        "rope_theta": values.real(f"{architecture}.rope.freq_base", default=10_000.0),
        "rope_scaling": scaling,
        "rotary_dim": None if rotated == head_dim else rotated,
        "max_context": context,
    }


def _scaling(file: GgufFile, values: Metadata, architecture: str, context: int) -> dict[str, Any] | None:
    if "rope_freqs.weight" in file.tensors:
        return {"rope_type": "factors", "factors": _factors(file, "rope_freqs.weight")}
    prefix = f"{architecture}.rope.scaling"
    original = values.whole(f"{prefix}.original_context_length", default=context)
    if "rope_factors_long.weight" in file.tensors:
        return _longrope(file, values, prefix, original, context)
    kind = values.text(f"{prefix}.type", default="none")
    if kind == "none":
        return None
    scaling: dict[str, Any] = {"rope_type": kind, "factor": values.real(f"{prefix}.factor")}
    if kind == "yarn":
        scaling[_ORIGINAL] = original
        for name in ("beta_fast", "beta_slow"):
            if f"{prefix}.yarn_{name}" in values:
                scaling[name] = values.real(f"{prefix}.yarn_{name}")
        if f"{prefix}.attn_factor" in values and scaling["factor"] > 1:
            # llama.cpp multiplies it with what YaRN itself prescribes.
            scaling["attention_factor"] = values.real(f"{prefix}.attn_factor") * (
                0.1 * math.log(scaling["factor"]) + 1.0
            )
    return scaling


def _longrope(file: GgufFile, values: Metadata, prefix: str, original: int, context: int) -> dict[str, Any]:
    if "rope_factors_short.weight" not in file.tensors:
        raise MalformedFileError(f"{file.path} lacks the tensor rope_factors_short.weight.", hint="Fetch it again.")
    scaling: dict[str, Any] = {
        "rope_type": "longrope",
        "factor": context / original if original > 0 else 0.0,
        _ORIGINAL: original,
        "short_factor": _factors(file, "rope_factors_short.weight"),
        "long_factor": _factors(file, "rope_factors_long.weight"),
    }
    if f"{prefix}.attn_factor" in values:
        scaling["attention_factor"] = values.real(f"{prefix}.attn_factor")
    return scaling


def _factors(file: GgufFile, name: str) -> list[float]:
    if math.prod(file.tensors[name].shape) > _MOST_FACTORS:
        raise MalformedFileError(f"{file.path}: {name!r} is too large.", hint="Fetch the file again.")
    factors: list[float] = file.load(name).flatten().tolist()
    return factors
