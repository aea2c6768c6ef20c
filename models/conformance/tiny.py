"""A tiny model with random weights, read in every way that the engine reads texts, against the plain formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.decoder import build_decoder
from openhearth.models.architectures.layout import linear_names, tensor_shapes
from openhearth.models.architectures.solo import Solo
from openhearth.models.architectures.step import Part, Step
from openhearth.models.conformance.plain import plain_decoder
from openhearth.models.conformance.samples import arithmetic, sample_weight
from openhearth.models.conformance.verdict import TOLERANCES, Verdict, judge
from openhearth.models.layers.linear import LinearKind
from openhearth.models.layers.paged import BLOCK
from openhearth.models.loading.config import DecoderConfig

CONFIG = DecoderConfig(
    architecture="qwen2",
    vocab_size=96,
    hidden_size=256,
    intermediate_size=256,
    layers=3,
    heads=8,
    kv_heads=4,
    head_dim=32,
    rms_eps=1e-5,
    rope_theta=10_000.0,
    rope_scaling=None,
    max_context=256,
    tie_embeddings=False,
    attention_bias=True,
    bos_id=None,
    eos_ids=(),
    add_bos=False,
)

PRECISIONS: dict[str, dict[str, str]] = {
    "float32": {},
    "bfloat16": {},
    "int8": {"down": "int8-wide", "head": "int8-wide"},
    "native": {"embedding": "q4", "qkv": "q4k+q6k", "o": "q8", "up_gate": "q4k", "down": "q6k", "head": "q6k"},
}
"""What a store of each precision holds: labels of `sample_weight` by the linear's name, where not the precision's."""


def check_tiny_model(device: torch.device) -> Iterator[Verdict]:
    """One verdict for each precision and way of reading."""
    with torch.inference_mode():
        for precision in PRECISIONS:
            yield from _check(device, precision)


def _check(device: torch.device, precision: str) -> Iterator[Verdict]:
    stored, meant, linears = _weights(precision)
    texts = [_text(70, 1), _text(33, 2), _text(5, 3)]
    expected = [plain_decoder(CONFIG, meant, text) for text in texts]
    built: list[BaseDecoder] = []

    def decoder() -> BaseDecoder:
        # Within the first check, so that what goes wrong in building is a finding, too.
        if not built:
            built.append(_decoder(stored, linears, device))
        return built[0]

    label = PRECISIONS[precision].get("down", precision)
    tolerance = TOLERANCES[arithmetic(label if precision == "native" else precision, device)][1]
    last = torch.stack([rows[-1] for rows in expected])
    ways: list[tuple[str, Tensor, Callable[[], Tensor]]] = [
        ("a text at once", expected[0], lambda: Solo(decoder(), 70)(texts[0], every_row=True)),
        ("token by token", expected[0], lambda: _by_token(decoder(), texts[0])),
        ("three texts in a batch", last, lambda: _batch(decoder(), texts)),
        ("a prefix used again", expected[0][-1:], lambda: _fork(decoder(), texts[0])),
    ]
    for way, right, compute in ways:
        yield judge(f"tiny model, {precision}, {way}", precision, tolerance, right, compute)


def _by_token(decoder: BaseDecoder, text: Sequence[int]) -> Tensor:
    solo = Solo(decoder, len(text))
    return torch.cat([solo([token]) for token in text])


def _batch(decoder: BaseDecoder, texts: Sequence[Sequence[int]]) -> Tensor:
    """All but the last three tokens of each text, then these, as steps of all texts; blocks in each other's way."""
    blocks = [(5, 2, 0), (4, 1), (3,)]
    kv = decoder.new_store(6)
    for start, end in ((0, -3), (-3, None)):
        parts = []
        for text, own in zip(texts, blocks, strict=True):
            ids = text[start:end]
            parts.append(Part(ids, 0 if start == 0 else len(text) - 3, own))
        logits = decoder(Step.of(parts, decoder.device), kv)
    return logits


def _fork(decoder: BaseDecoder, text: Sequence[int]) -> Tensor:
    """Another text is read behind the same first block; that must not touch what `text` sees."""
    kv = decoder.new_store(5)
    device = decoder.device
    decoder(Step.of([Part(text[:50], 0, (0, 1))], device), kv)
    kv.copy_block(1, 3)
    decoder(Step.of([Part(_text(10, 9), BLOCK, (0, 4))], device), kv)
    return decoder(Step.of([Part(text[50:], 50, (0, 3, 2))], device), kv)


def _decoder(tensors: Mapping[str, Tensor], linears: Mapping[str, LinearKind], device: torch.device) -> BaseDecoder:
    return build_decoder(
        CONFIG,
        tensors,
        linears,
        context=CONFIG.max_context,
        device=device,
        each=lambda build, indices: [build(index) for index in indices],
    )


def _weights(precision: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, LinearKind]]:
    """A store's tensors, the float32 ones that they mean, and each linear's kind."""
    generator = torch.Generator().manual_seed(30)
    labels = {name: PRECISIONS[precision].get(name.rpartition(".")[2], precision) for name in linear_names(CONFIG)}
    stored: dict[str, Tensor] = {}
    meant: dict[str, Tensor] = {}
    linears: dict[str, LinearKind] = {}
    for name, shape in tensor_shapes(CONFIG).items():
        owner, _, part = name.rpartition(".")
        if part == "weight" and owner in labels:
            sample = sample_weight(labels[owner], shape[0], shape[1], generator)
            stored |= {f"{owner}.{part}": tensor for part, tensor in sample.stored.items()}
            meant[name], linears[owner] = sample.meant, sample.kind
        else:
            stored[name] = meant[name] = torch.rand(shape, generator=generator) + 0.5
    return stored, meant, linears


def _text(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(CONFIG.vocab_size, (length,), generator=generator).tolist()
