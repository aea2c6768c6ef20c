"""What a decoder must know about itself, whichever file it came from."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from openhearth.errors import MalformedFileError
from openhearth.models.loading.families import FAMILIES, Family, unsupported_architecture
from openhearth.models.loading.rope_scaling import check_rope_scaling, is_positive

Norm = Literal["rms", "layer"]
NormPlace = Literal["before", "after", "around"]
QueryKeyNorm = Literal["none", "head", "whole"]
Activation = Literal["silu", "gelu"]

_LARGEST = 1 << 24
"""No size of a decoder is beyond this; a larger one is damage, and would only end in a failed allocation."""
_MOST = 4096
"""Nor has any more layers, or experts in one."""


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts in place of one feed-forward block: `used` of `count` experts see a row, each `size` wide
    inside. `normalised`: the weights of the used ones add up to one. `dense`: layers with an ordinary block instead."""

    count: int
    used: int
    size: int
    normalised: bool
    dense: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and constants of a decoder. Raises MalformedFileError when they contradict one another.

    `architecture` names the family (families.py). `rms_eps` is the epsilon of every norm. `attention_bias` is that of
    the query, key and value projections. `rope_scaling` is described in rope_scaling.py. `bos_id` begins a text that
    no chat template rendered, when `add_bos` says so; any of `eos_ids` ends a reply. `max_context` is in tokens.

    What differs between families: the kind of `norm`; `norm_place`, before the attention and the feed-forward block,
    after them (on what they add), or both; `qk_norm` on queries and keys, a head at a time or all heads as one; the
    gate's `activation` ("gelu" is its tanh form); the first `rotary_dim` components of a head that positions rotate
    (None: all); `windows`, how many positions each layer sees, 0 for all (empty: no layer has a window);
    `unrotated` layers, which know no positions; the `window_theta` of layers with a window, where it is another and
    unscaled; `attention_scale` of the scores (None: head_dim ** -0.5); `attention_cap` and `logit_cap`, c in
    c * tanh(x / c); and the multipliers of embeddings, of what a block adds, and of logits. The last is part of
    norm.weight in a converted store.

    `foreign` is the config.json of a model that transformers runs (architectures/foreign.py): it alone says what is
    computed then, and of the rest only sizes, context and tokens count.
    """

    architecture: str
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
    norm: Norm = "rms"
    norm_place: NormPlace = "before"
    qk_norm: QueryKeyNorm = "none"
    activation: Activation = "silu"
    output_bias: bool = False
    mlp_bias: bool = False
    rotary_dim: int | None = None
    windows: tuple[int, ...] = ()
    unrotated: tuple[int, ...] = ()
    window_theta: float | None = None
    attention_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logit_multiplier: float = 1.0
    experts: Experts | None = None
    foreign: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.foreign is None and self.architecture not in FAMILIES:
            raise unsupported_architecture(self.architecture)
        self._check_values()
        if self.heads % self.kv_heads:
            raise _bad(f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise _bad(f"head_dim is {self.head_dim}; rotary embeddings need an even number")
        if self.rotary_dim is not None and (self.rotary_dim % 2 or self.rotary_dim > self.head_dim):
            raise _bad(f"{self.rotary_dim} components cannot be rotated of a head of {self.head_dim}")
        if self.windows and len(self.windows) != self.layers:
            raise _bad(f"there are {len(self.windows)} windows for {self.layers} layers")
        if self.rope_scaling is not None:
            check_rope_scaling(self.rope_scaling, self.rotated, self.rope_theta)
        for token in (*self.eos_ids, *([] if self.bos_id is None else [self.bos_id])):
            if not _is_whole(token, 0, self.vocab_size - 1):
                raise _bad(f"the token id {token!r} is outside the vocabulary of {self.vocab_size}")

    @property
    def family(self) -> Family:
        return FAMILIES[self.architecture]

    @property
    def rotated(self) -> int:
        """How many components of a head are rotated."""
        return self.head_dim if self.rotary_dim is None else self.rotary_dim

    def is_sparse(self, index: int) -> bool:
        """Whether layer `index` has experts."""
        return self.experts is not None and index not in self.experts.dense

    def is_standard(self, index: int) -> bool:
        """Whether layer `index` is Llama's, with or without biases on query, key and value: RMSNorms before its
        blocks, all earlier positions seen, rotated heads, SwiGLU, results added as they are."""
        return (
            (self.norm, self.norm_place, self.qk_norm, self.activation) == ("rms", "before", "none", "silu")
            and not (self.output_bias or self.mlp_bias or self.is_sparse(index))
            and not (self.windows and self.windows[index])
            and index not in self.unrotated
            and self.attention_scale is None
            and self.attention_cap is None
            and self.residual_multiplier == 1.0
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; what has a default may be missing. Raises MalformedFileError."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise _bad(f"not JSON: {error}") from error
        return cls(**_arguments(cls, values, ("eos_ids", "windows", "unrotated")))

    def _check_values(self) -> None:
        for name, largest in _SIZES.items():
            _check_whole(name, getattr(self, name), 1, largest)
        if self.rotary_dim is not None:
            _check_whole("rotary_dim", self.rotary_dim, 1, _LARGEST)
        for name in _REALS:
            if not is_positive(getattr(self, name)):
                raise _bad(f"{name} is {getattr(self, name)!r}, not a positive number")
        for name in _OPTIONAL_REALS:
            value = getattr(self, name)
            if value is not None and not is_positive(value):
                raise _bad(f"{name} is {value!r}, not a positive number")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise _bad(f"{name} is {getattr(self, name)!r}, neither true nor false")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _bad(f"{name} is {getattr(self, name)!r}, not one of {', '.join(choices)}")
        for window in self.windows:
            _check_whole("a window", window, 0, _LARGEST)
        for index in self.unrotated:
            _check_whole("an unrotated layer", index, 0, self.layers - 1)
        if self.experts is not None:
            _check_experts(self.experts, self.layers)


def useful_windows(windows: tuple[int, ...], context: int) -> tuple[int, ...]:
    """`DecoderConfig.windows` without those that hide nothing: a window as long as the context is none."""
    useful = tuple(0 if window >= context else window for window in windows)
    return useful if any(useful) else ()


def _check_experts(experts: object, layers: int) -> None:
    if not isinstance(experts, Experts):
        raise _bad(f"experts is {experts!r}")
    _check_whole("the number of experts", experts.count, 1, _MOST)
    _check_whole("the number of experts used", experts.used, 1, experts.count)
    _check_whole("the size of an expert", experts.size, 1, _LARGEST)
    if not isinstance(experts.normalised, bool):
        raise _bad(f"experts.normalised is {experts.normalised!r}, neither true nor false")
    for index in experts.dense:
        _check_whole("a layer without experts", index, 0, layers - 1)


def _arguments(cls: type, values: object, lists: tuple[str, ...]) -> dict[str, Any]:
    """The keyword arguments of the dataclass `cls` from a JSON object in which `lists` stand for tuples."""
    fields = dataclasses.fields(cls)
    names = {field.name for field in fields}
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not isinstance(values, dict) or not needed <= values.keys() <= names:
        raise _bad(f"the keys are not {', '.join(sorted(names))}")
    arguments = dict(values)
    for name in lists:
        if name in arguments:
            if not isinstance(arguments[name], list):
                raise _bad(f"{name} is not a list")
            arguments[name] = tuple(arguments[name])
    if arguments.get("experts") is not None:
        arguments["experts"] = Experts(**_arguments(Experts, arguments["experts"], ("dense",)))
    return arguments


def _check_whole(name: str, value: object, smallest: int, largest: int) -> None:
    if not _is_whole(value, smallest, largest):
        raise _bad(f"{name} is {value!r}, not a whole number from {smallest} to {largest}")


def _is_whole(value: object, smallest: int, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest


def _bad(problem: str) -> MalformedFileError:
    return MalformedFileError(f"The model's configuration is wrong: {problem}.", hint="Fetch the model again.")


_SIZES: dict[str, int] = dict.fromkeys(
    ("vocab_size", "hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "max_context"), _LARGEST
) | {"layers": _MOST}
_REALS = ("rms_eps", "rope_theta", "embedding_multiplier", "residual_multiplier", "logit_multiplier")
_OPTIONAL_REALS = ("window_theta", "attention_scale", "attention_cap", "logit_cap")
_FLAGS = ("tie_embeddings", "attention_bias", "output_bias", "mlp_bias", "add_bos")
_CHOICES: dict[str, tuple[str, ...]] = {
    "norm": get_args(Norm),
    "norm_place": get_args(NormPlace),
    "qk_norm": get_args(QueryKeyNorm),
    "activation": get_args(Activation),
}
