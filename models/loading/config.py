"""What a decoder must know about itself, whichever file it came from."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from openhearth.errors import MalformedFileError, ModelUnavailableError

Architecture = Literal["llama", "qwen2"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

_LARGEST = 1 << 24
"""No size of a decoder is beyond this; a larger one is damage, and would only end in a failed allocation."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and constants of a Llama-like decoder. Raises MalformedFileError when they contradict one another.

    `attention_bias` is that of the query, key and value projections. `rope_scaling` is None or a dictionary as Hugging
    Face writes it (`rope_type` and its parameters), or `{"rope_type": "factors", "factors": [...]}` with one divisor
    per frequency. `bos_id` begins a text that no chat template rendered, when `add_bos` says so; any of `eos_ids` ends
    a reply. `max_context` is in tokens.
    """

    architecture: Architecture
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rms_eps: float
    rope_theta: float
    rope_scaling: dict[str, Any] | None
    max_context: int
    tie_embeddings: bool
    attention_bias: bool
    bos_id: int | None
    eos_ids: tuple[int, ...]
    add_bos: bool

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise unsupported_architecture(self.architecture)
        for name in _SIZES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST:
                raise _bad(f"{name} is {value!r}, not a whole number from 1 to {_LARGEST}")
        for name in _REALS:
            if not _positive(getattr(self, name)):
                raise _bad(f"{name} is {getattr(self, name)!r}, not a positive number")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise _bad(f"{name} is {getattr(self, name)!r}, neither true nor false")
        if self.heads % self.kv_heads:
            raise _bad(f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise _bad(f"head_dim is {self.head_dim}; rotary embeddings need an even number")
        if self.rope_scaling is not None:
            _check_rope_scaling(self.rope_scaling, self.head_dim)
        for token in (*self.eos_ids, *([] if self.bos_id is None else [self.bos_id])):
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise _bad(f"the token id {token!r} is outside the vocabulary of {self.vocab_size}")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises MalformedFileError."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise _bad(f"not JSON: {error}") from error
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise _bad(f"the keys are not exactly {', '.join(sorted(names))}")
        if not isinstance(values["eos_ids"], list):
            raise _bad("eos_ids is not a list")
        return cls(**{**values, "eos_ids": tuple(values["eos_ids"])})


def tensor_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that a decoder of this config has, under its Hugging Face name."""
    c = config
    query, key, vocabulary = c.heads * c.head_dim, c.kv_heads * c.head_dim, (c.vocab_size, c.hidden_size)
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (c.hidden_size,),
        "self_attn.q_proj.weight": (query, c.hidden_size),
        "self_attn.k_proj.weight": (key, c.hidden_size),
        "self_attn.v_proj.weight": (key, c.hidden_size),
        "self_attn.o_proj.weight": (c.hidden_size, query),
        "post_attention_layernorm.weight": (c.hidden_size,),
        "mlp.gate_proj.weight": (c.intermediate_size, c.hidden_size),
        "mlp.up_proj.weight": (c.intermediate_size, c.hidden_size),
        "mlp.down_proj.weight": (c.hidden_size, c.intermediate_size),
    }
    if c.attention_bias:
        biases = {"q": (query,), "k": (key,), "v": (key,)}
        layer |= {f"self_attn.{name}_proj.bias": shape for name, shape in biases.items()}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": vocabulary}
    for index in range(c.layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (c.hidden_size,)
    if not c.tie_embeddings:
        shapes["lm_head.weight"] = vocabulary
    return shapes


def unsupported_architecture(name: object) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The architecture {name!r} is not supported.",
        hint=f"Supported are {' and '.join(ARCHITECTURES)} models: Llama, SmolLM, Qwen2, Qwen2.5 and their kin.",
    )


def _check_rope_scaling(scaling: object, head_dim: int) -> None:
    kind = scaling.get("rope_type") if isinstance(scaling, dict) else None
    if not isinstance(scaling, dict) or not isinstance(kind, str):
        raise _bad(f"rope_scaling is {scaling!r}, not an object with a rope_type")
    if kind not in _ROPE_NUMBERS:
        raise ModelUnavailableError(
            f"Rotary positions scaled by {kind!r} are not supported.",
            hint=f"Supported are default, {', '.join(_ROPE_NUMBERS)}.",
        )
    for key in _ROPE_NUMBERS[kind]:
        if not _positive(scaling.get(key)):
            raise _bad(f"rope_scaling's {key} is {scaling.get(key)!r}, not a positive number")
    if kind == "factors":
        factors = scaling.get("factors")
        if not isinstance(factors, list) or len(factors) != head_dim // 2 or not all(map(_positive, factors)):
            raise _bad(f"rope_scaling's factors are not {head_dim // 2} positive numbers")


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


_ROPE_NUMBERS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "factors": (),
}
"""The kinds of scaling that the engine knows, and the numbers that each needs."""

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "max_context",
)
_REALS = ("rms_eps", "rope_theta")
_FLAGS = ("tie_embeddings", "attention_bias", "add_bos")


def _bad(problem: str) -> MalformedFileError:
    return MalformedFileError(f"The model's configuration is wrong: {problem}.", hint="Fetch the model again.")
