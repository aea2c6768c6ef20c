"""A bidirectional encoder of the BERT family: token ids in, one hidden state for each token out.

Texts of a batch lie one behind the other, without padding: everything but attention works on single tokens and never
asks whose they are, and attention runs over all texts of one length at once. So no mask is needed, and no time goes
into tokens that are not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

Size = Annotated[int, Field(gt=0, le=1 << 24)]


class EncoderConfig(BaseModel):
    """The keys of BERT's `config.json` that decide what is computed, under the names they have there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["bert"]
    hidden_act: Literal["gelu", "relu"] = "gelu"
    hidden_size: Size
    intermediate_size: Size
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-12
    max_position_embeddings: Size
    num_attention_heads: Size
    num_hidden_layers: Size
    position_embedding_type: Literal["absolute"] = "absolute"
    type_vocab_size: Size = 2
    vocab_size: Size

    @model_validator(mode="after")
    def _heads_divide_the_size(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")
        return self


def tensor_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that the encoder reads, under its Hugging Face name."""
    size, inner = config.hidden_size, config.intermediate_size
    linears = {
        "attention.self.query": (size, size),
        "attention.self.key": (size, size),
        "attention.self.value": (size, size),
        "attention.output.dense": (size, size),
        "intermediate.dense": (inner, size),
        "output.dense": (size, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, size),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, size),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, size),
    }
    norms = ["embeddings"]
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        for name, shape in linears.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        norms += [f"{layer}.attention.output", f"{layer}.output"]
    for name in norms:
        shapes |= {f"{name}.LayerNorm.weight": (size,), f"{name}.LayerNorm.bias": (size,)}
    return shapes


class Encoder:
    """The whole model, in the dtype and on the device of the `tensors` (see `tensor_shapes`)."""

    def __init__(self, config: EncoderConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self._words = tensors["embeddings.word_embeddings.weight"]
        # A single text is of type 0 throughout, so that the type belongs to the position.
        types = tensors["embeddings.token_type_embeddings.weight"]
        self._positions = tensors["embeddings.position_embeddings.weight"] + types[0]
        self._norm = _Norm(config, tensors, "embeddings")
        self._layers = [_Layer(config, tensors, f"encoder.layer.{n}") for n in range(config.num_hidden_layers)]

    @property
    def device(self) -> torch.device:
        return self._words.device

    def __call__(self, ids: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        """Hidden states [tokens, size] for `ids` int64 [tokens].

        `groups` says how the tokens belong together, in order: (texts, tokens of each), the latter at most
        `max_position_embeddings`.
        """
        places = [self._positions[:length].repeat(texts, 1) for texts, length in groups]
        x = self._norm(F.embedding(ids, self._words).add_(places[0] if len(places) == 1 else torch.cat(places)))
        for layer in self._layers:
            x = layer(x, groups)
        return x


class _Norm:
    """LayerNorm."""

    __slots__ = ("_arguments",)

    def __init__(self, config: EncoderConfig, tensors: Mapping[str, Tensor], owner: str) -> None:
        weight, bias = (tensors[f"{owner}.LayerNorm.{part}"] for part in ("weight", "bias"))
        self._arguments = ((config.hidden_size,), weight, bias, config.layer_norm_eps)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, *self._arguments)


class _Layer:
    """Attention and feed-forward, each added to its input and normalised after that."""

    __slots__ = ("_activation", "_attended", "_attention_norm", "_heads", "_inner", "_norm", "_outer", "_qkv")

    def __init__(self, config: EncoderConfig, tensors: Mapping[str, Tensor], name: str) -> None:
        def linear(part: str) -> tuple[Tensor, Tensor]:
            return tensors[f"{name}.{part}.weight"], tensors[f"{name}.{part}.bias"]

        projections = [linear(f"attention.self.{part}") for part in ("query", "key", "value")]
        self._qkv = tuple(torch.cat(tensors) for tensors in zip(*projections, strict=True))
        self._attended = linear("attention.output.dense")
        self._inner, self._outer = linear("intermediate.dense"), linear("output.dense")
        self._attention_norm = _Norm(config, tensors, f"{name}.attention.output")
        self._norm = _Norm(config, tensors, f"{name}.output")
        self._heads = config.num_attention_heads
        self._activation = F.gelu if config.hidden_act == "gelu" else F.relu

    def __call__(self, x: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        projected = F.linear(x, *self._qkv)
        attended = torch.empty_like(x)
        start = 0
        for texts, length in groups:
            rows = slice(start, start + texts * length)
            q, k, v = projected[rows].view(texts, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            attended[rows].view(mixed.shape).copy_(mixed)
            start = rows.stop
        x = self._attention_norm(F.linear(attended, *self._attended).add_(x))
        return self._norm(F.linear(self._activation(F.linear(x, *self._inner)), *self._outer).add_(x))
