"""Each kernel that the engine uses, against the formula that it stands for, written out plainly on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from openhearth.models.architectures.step import Part, Step
from openhearth.models.conformance.plain import plain_attention, plain_norm, plain_rotation
from openhearth.models.conformance.samples import arithmetic, sample_weight
from openhearth.models.conformance.verdict import TOLERANCES, Verdict, judge
from openhearth.models.device_policy import device_policy
from openhearth.models.engine.sampler import Sampler
from openhearth.models.layers.attention import attend, causal_mask
from openhearth.models.layers.embedding import build_embedding
from openhearth.models.layers.linear import RowScale, build_linear
from openhearth.models.layers.norm import RMSNorm
from openhearth.models.layers.paged import KVStore
from openhearth.models.layers.rope import rotate_, rotations, spread
from openhearth.types import Sampling

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
INPUTS, OUTPUTS, VOCABULARY = 256, 160, 64
_ROWS = (1, 5, 40)
_EPSILON = 1e-5


def check_kernels(device: torch.device, labels: Sequence[str]) -> Iterator[Verdict]:
    """One verdict for each kernel and, where they differ, kind of weight (see `sample_weight`) and number of rows."""
    with torch.inference_mode():
        for label in labels:
            if "+" not in label:
                yield _embedding(device, label)
        for rows in _ROWS:
            yield _norm(device, rows)
        yield _rotation(device)
        for label in labels:
            for rows in _ROWS:
                yield _linear(device, label, rows)
        yield from _attention(device)
        yield _sampler(device)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


def _embedding(device: torch.device, label: str) -> Verdict:
    sample = sample_weight(label, VOCABULARY, INPUTS, _generator())
    ids = torch.tensor([3, 0, VOCABULARY - 1, 3])

    def compute() -> Tensor:
        tensors = {f"embedding.{part}": tensor for part, tensor in sample.stored.items()}
        return build_embedding(tensors, sample.kind, device)(ids.to(device))

    # A look-up computes nothing, but bfloat16 numbers may be kept in another type.
    kept = arithmetic(label, device) if label == "bfloat16" else "float32"
    exact = "float32" if kept == "bfloat16" else kept
    return judge(f"embedding, {label}", label, TOLERANCES[exact][0], sample.meant[ids], compute)


def _norm(device: torch.device, rows: int) -> Verdict:
    generator = _generator()
    x, weight = torch.randn(rows, INPUTS, generator=generator), torch.rand(INPUTS, generator=generator)
    expected = plain_norm(x, weight, _EPSILON).float()

    def compute() -> Tensor:
        product, scale = RMSNorm(weight.to(device), _EPSILON)(x.to(device))
        return product if scale is None else product * scale

    return judge(f"RMSNorm, {_count(rows)}", "float32", TOLERANCES["float32"][0], expected, compute)


def _rotation(device: torch.device) -> Verdict:
    positions, theta = 50, 10_000.0
    x = torch.randn(positions, HEADS + KV_HEADS, HEAD_DIM, generator=_generator())
    expected = torch.cat([plain_rotation(x[:, :HEADS], theta).float(), x[:, HEADS:]], 1)

    def compute() -> Tensor:
        table = rotations(HEAD_DIM, theta, None, positions, device)
        rows = x.flatten(1).to(device, copy=True)
        rotate_(rows, spread(table, HEADS, KV_HEADS))
        return rows

    return judge("rotary positions", "float32", TOLERANCES["float32"][0], expected.flatten(1), compute)


def _linear(device: torch.device, label: str, rows: int) -> Verdict:
    """With a bias, a factor for each row, and one row that is a hundred times as large as the others."""
    generator = _generator()
    sample = sample_weight(label, OUTPUTS, INPUTS, generator)
    x, bias = torch.randn(rows, INPUTS, generator=generator), torch.randn(OUTPUTS, generator=generator)
    factors = torch.rand(rows, 1, generator=generator) + 0.5
    if rows > 1:
        x[1] *= 100
        factors[1] /= 100
    expected = (factors.double() * (x.double() @ sample.meant.double().T) + bias).float()

    def compute() -> Tensor:
        tensors = {f"linear.{part}": tensor for part, tensor in (*sample.stored.items(), ("bias", bias))}
        linear = build_linear(tensors, "linear", sample.kind, device)
        scale: RowScale = float(factors) if rows == 1 and device.type == "cpu" else factors.to(device)
        return linear(x.to(device), scale)

    tolerance = TOLERANCES[arithmetic(label, device)][0]
    return judge(f"linear, {label}, {_count(rows)}", label, tolerance, expected, compute)


def _attention(device: torch.device) -> Iterator[Verdict]:
    """Reading a text at once, its next token, a piece after others; blocks in a row and scattered; a window."""
    cache = device_policy(device).cache
    scattered = (5, 2, 7)
    for what, blocks, length, rows, window in (
        ("a whole text", (0, 1, 2), 70, 70, None),
        ("one row after 69", (0, 1, 2), 70, 1, None),
        ("20 rows after 50", (0, 1, 2), 70, 20, None),
        ("one row, scattered blocks", scattered, 70, 1, None),
        ("20 rows, scattered blocks", scattered, 70, 20, None),
        ("20 rows, window of 16", (0, 1, 2), 70, 20, 16),
        ("one row, window of 16, scattered blocks", scattered, 70, 1, 16),
    ):
        yield _attend(device, cache, what, blocks, length, rows, window)


def _attend(
    device: torch.device,
    cache: torch.dtype,
    what: str,
    blocks: Sequence[int],
    length: int,
    rows: int,
    window: int | None,
) -> Verdict:
    generator = _generator()
    queries = torch.randn(rows, HEADS, HEAD_DIM, generator=generator)
    # Keys and values as the cache keeps them: their rounding is not the kernel's.
    keys, values = torch.randn(2, length, KV_HEADS, HEAD_DIM, generator=generator).to(cache).float()
    expected = plain_attention(queries, keys, values, window).float()
    earlier = length - rows

    def compute() -> Tensor:
        store = KVStore(1, KV_HEADS, HEAD_DIM, 8, device=device, dtype=cache)
        both = torch.cat([keys.flatten(1), values.flatten(1)], 1).to(device)
        for start, end in ((0, earlier), (earlier, length)):
            if start == end:
                continue
            step = Step.of([Part([0] * (end - start), start, blocks)], device)
            (layer,) = store.views(step.spans)
            layer.write(both[start:end], step.slots)
        masks = [causal_mask(earlier, rows, device, window)]
        return attend(queries.flatten(1).to(device), layer, step.spans, masks, step.slots_of, window)

    name = str(cache).removeprefix("torch.")
    return judge(f"attention, {what}", name, TOLERANCES[name][0], expected.flatten(1), compute)


def _sampler(device: torch.device) -> Verdict:
    """Greedy and drawn tokens, masked and not, are those that the CPU takes from the same logits."""
    logits = torch.randn(6, VOCABULARY, generator=_generator())
    words = torch.tensor([0x0F0F0F0F, 0x00FF00FF], dtype=torch.int32)
    choices: list[tuple[Sampling, Tensor | None]] = [
        (Sampling(temperature=0), None),
        (Sampling(temperature=0), words),
        (Sampling(temperature=0.8, top_p=0.9, seed=4), None),
        (Sampling(temperature=1.2, top_k=5, seed=4, repetition_penalty=1.3), words),
    ]

    def tokens(place: Callable[[Tensor], Tensor]) -> Tensor:
        drawn = []
        for sampling, mask in choices:
            sampler = Sampler(sampling, [1, 2, 3])
            drawn.append([sampler.sample(place(row.clone()), mask) for row in logits])
        return torch.tensor(drawn).float()

    return judge("sampler", "float32", 0.0, tokens(lambda row: row), lambda: tokens(lambda row: row.to(device)))


def _count(rows: int) -> str:
    return "one row" if rows == 1 else f"{rows} rows"
