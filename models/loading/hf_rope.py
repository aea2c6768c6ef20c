"""Rotary positions as a config.json describes them, in the form of before and of since transformers 5."""

from __future__ import annotations

from typing import Any

from openhearth.models.loading.families import Family
from openhearth.models.loading.hf_values import Values
from openhearth.models.loading.rope_scaling import KEYS

_ORIGINAL = "original_max_position_embeddings"
_FULL, _SLIDING = "full_attention", "sliding_attention"


def rope_fields(values: Values, family: Family) -> dict[str, Any]:
    """The fields of a DecoderConfig that positions decide: theta, scaling, rotary_dim, window_theta, max_context."""
    key = "rope_scaling" if values.raw.get("rope_parameters") is None else "rope_parameters"
    raw = {} if values.raw.get(key) is None else values.inner(key).raw
    rope = sliding = _with_defaults(values, raw)
    if _FULL in raw or _SLIDING in raw:
        rope, sliding = (_with_defaults(values, rope.inner(kind).raw) for kind in (_FULL, _SLIDING))
        if _kind(sliding) != "default":
            raise values.not_ours(f"scaling the positions of windowed layers by {_kind(sliding)!r}")
    theta = rope.real("rope_theta")
    context = values.whole("max_position_embeddings")
    scaling = _scaling(values, rope, family, context)
    fields: dict[str, Any] = {"rope_theta": theta, "rope_scaling": scaling, "max_context": _reach(scaling, context)}
    share = rope.real("partial_rotary_factor", default=1.0)
    if share != 1.0 and not family.partly_rotated:
        raise values.not_ours("partial_rotary_factor")
    fields["rotary_dim"] = _rotary_dim(values, share)
    if sliding is not rope:
        fields["window_theta"] = sliding.real("rope_theta")
    elif family.own_window_positions:
        fields["window_theta"] = values.real("rope_local_base_freq", default=theta)
    if fields.get("window_theta") == theta and scaling is None:
        del fields["window_theta"]
    return fields


def _with_defaults(values: Values, raw: dict[str, Any]) -> Values:
    named = {key: values.raw.get(key) for key in ("rope_theta", "partial_rotary_factor")}
    return Values(values.file, {"rope_theta": 10_000.0, **_present(named), **_present(raw)})


def _kind(rope: Values) -> str:
    kind = rope.text("rope_type", rope.text("type", "default"))
    return "longrope" if kind == "su" else kind


def _scaling(values: Values, rope: Values, family: Family, context: int) -> dict[str, Any] | None:
    kind = _kind(rope)
    if kind == "default":
        return None
    if family.name == "phi3" and kind == "yarn":
        kind = "longrope"  # what its first checkpoints called it
    scaling = {key: value for key, value in rope.raw.items() if key in KEYS.get(kind, ())}
    if kind == "dynamic":
        scaling[_ORIGINAL] = context
    elif kind in ("llama3", "yarn", "longrope"):
        scaling[_ORIGINAL] = values.whole(_ORIGINAL, default=rope.whole(_ORIGINAL, default=context))
        if kind != "llama3" and scaling[_ORIGINAL] > 0:
            scaling.setdefault("factor", context / scaling[_ORIGINAL])
    return {"rope_type": kind, **scaling}


def _reach(scaling: dict[str, Any] | None, context: int) -> int:
    """The longest context, which some kinds of scaling extend beyond `max_position_embeddings`."""
    if scaling is None or scaling["rope_type"] not in ("dynamic", "yarn"):
        return context
    factor, original = scaling.get("factor"), scaling[_ORIGINAL]
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= 1 << 24:
        return context  # DecoderConfig says what is wrong
    return max(context, int(original * factor))


def _rotary_dim(values: Values, share: float) -> int | None:
    if not 0 < share <= 1:
        raise values.wrong("partial_rotary_factor", "a share of the head, from 0 to 1")
    heads = values.whole("num_attention_heads")
    head_dim = values.whole("head_dim", default=values.whole("hidden_size") // heads if heads else 0)
    rotated = int(head_dim * share)
    return None if rotated == head_dim else rotated


def _present(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if value is not None}
