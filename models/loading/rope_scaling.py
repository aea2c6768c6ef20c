"""How rotary positions are stretched beyond the length that a model was first trained on.

A scaling is None or a dictionary as Hugging Face writes it: `rope_type` and its parameters. One kind is our own:
`{"rope_type": "factors", "factors": [...]}` divides each frequency by a number, as GGUF files say it. What transformers
takes from elsewhere in a config.json is part of the dictionary here: `original_max_position_embeddings`, always.
layers/rope.py computes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openhearth.errors import MalformedFileError, ModelUnavailableError

_ORIGINAL = "original_max_position_embeddings"

NUMBERS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor", _ORIGINAL),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
    "yarn": ("factor", _ORIGINAL),
    "longrope": ("factor", _ORIGINAL),
    "factors": (),
}
"""The kinds that the engine knows, and the numbers that each needs."""

_OPTIONAL = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
_LISTS: dict[str, tuple[str, ...]] = {"longrope": ("short_factor", "long_factor"), "factors": ("factors",)}
KEYS: dict[str, tuple[str, ...]] = {
    kind: (*numbers, *_OPTIONAL, *_LISTS.get(kind, ()), "truncate") for kind, numbers in NUMBERS.items()
}
"""Everything that a scaling of each kind may say."""


def check_rope_scaling(scaling: object, rotated: int, theta: float) -> None:
    """Raises MalformedFileError, or ModelUnavailableError for a kind that is not known."""
    kind = scaling.get("rope_type") if isinstance(scaling, dict) else None
    if not isinstance(scaling, dict) or not isinstance(kind, str):
        raise _bad(f"rope_scaling is {scaling!r}, not an object with a rope_type")
    if kind not in NUMBERS:
        raise ModelUnavailableError(
            f"Rotary positions scaled by {kind!r} are not supported.",
            hint=f"Supported are default, {', '.join(NUMBERS)}.",
        )
    for key in NUMBERS[kind]:
        if not is_positive(scaling.get(key)):
            raise _bad(f"rope_scaling's {key} is {scaling.get(key)!r}, not a positive number")
    for key in _OPTIONAL:
        if scaling.get(key) is not None and not is_positive(scaling[key]):
            raise _bad(f"rope_scaling's {key} is {scaling[key]!r}, not a positive number")
    for key in _LISTS.get(kind, ()):
        factors = scaling.get(key)
        if not isinstance(factors, list) or len(factors) != rotated // 2 or not all(map(is_positive, factors)):
            raise _bad(f"rope_scaling's {key} are not {rotated // 2} positive numbers")
    check = _CHECKS.get(kind)
    if check is not None and not check(scaling, rotated, theta):
        raise _bad(f"rope_scaling's {kind} has no meaning with {scaling}")


def is_positive(value: object) -> bool:
    """Whether it is a number that a float can hold, greater than zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST


_LARGEST = 1e30

# Where the formulas of layers/rope.py would divide by zero or take the logarithm of nothing.
_CHECKS: dict[str, Callable[[Mapping[str, Any], int, float], bool]] = {
    "llama3": lambda scaling, rotated, theta: scaling["low_freq_factor"] < scaling["high_freq_factor"],
    "yarn": lambda scaling, rotated, theta: theta > 1 and isinstance(scaling.get("truncate", True), bool),
    "longrope": lambda scaling, rotated, theta: scaling[_ORIGINAL] > 1,
    "dynamic": lambda scaling, rotated, theta: rotated > 2 and scaling["factor"] >= 1,
}


def _bad(problem: str) -> MalformedFileError:
    return MalformedFileError(f"The model's configuration is wrong: {problem}.", hint="Fetch the model again.")
