"""Linear layers in several precisions behind one call.

Every linear computes `row_scale * (x @ weight.T) + bias` for rows `x` of shape [rows, in] and gives [rows, out] in
float32. `row_scale` is a float, a tensor [rows, 1], or None for 1. Taking the scale as an argument lets RMSNorm leave
its division to the linear behind it, where it costs one small multiplication of the result.

Quantised kinds use FBGEMM's `quantized::linear_dynamic`: int8 weights with one scale per output channel, activations
quantised to 8 bits on the fly with one scale per *tensor*. One row with an outlier would so ruin all others; hence
each row is divided by its own maximum first, and the result multiplied by it. A single row needs no such care.

Without VNNI, FBGEMM adds products of 8-bit numbers in pairs into 16 bits, and clips there. An emulation of that on
SmolLM2-135M clipped one pair in 20,000, and yet put the mean KL to float32 from 0.01 to 0.21 nats, with single tokens
beyond 3. Activations of 7 bits (FBGEMM's `reduce_range`) cannot clip: 0.037. Nor can weights of 7 bits: 0.047. Hence
such processors get 7-bit activations, and all others 8.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.device_policy import device_policy, place_weight
from openhearth.models.kernels.weights import is_native
from openhearth.models.layers.quantise import dequantise_rows

LinearKind = str
"""`float32`, `bfloat16`, `int8`, `int8-wide`, or a kind of the native kernels (kernels/weights.py)."""
RowScale = float | Tensor | None

_SMALLEST = 1e-20


class Linear(Protocol):
    """`row_scale * (x @ weight.T) + bias`; see the module."""

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor: ...


def build_linear(tensors: Mapping[str, Tensor], name: str, kind: LinearKind, device: torch.device) -> Linear:
    """The linear `name` from its stored tensors `name.weight`, `name.scale` (int8 kinds) and `name.bias` (optional).

    The int8 kernels exist on x86 processors alone; elsewhere int8 weights are unpacked (models/device_policy.py).
    """
    weight = tensors[f"{name}.weight"]
    bias = tensors.get(f"{name}.bias")
    bias = None if bias is None else bias.to(device, torch.float32)
    if kind in ("float32", "bfloat16"):
        return FloatLinear(place_weight(weight, device), bias)
    if is_native(kind):
        # Imported on use: that module needs this one.
        from openhearth.models.layers.native import native_linear

        return native_linear(weight, kind, bias, device)
    scale = tensors[f"{name}.scale"]
    policy = device_policy(device)
    if not policy.int8:
        return FloatLinear(dequantise_rows(weight.to(device), scale.to(device)).to(policy.half), bias)
    return (WideInt8Linear if kind == "int8-wide" else Int8Linear)(weight, scale, bias)


class FloatLinear:
    """Weights [out, in] in a floating type; the product is computed in that type.

    In float16 each row is divided by its own maximum first: a norm that leaves its division to the linear behind it
    hands over values that may be beyond that type's 65,504.
    """

    __slots__ = ("bias", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        if self.weight.dtype is torch.float16:
            largest = _largest(x)
            x, row_scale = x / largest, largest if row_scale is None else largest * row_scale
        y = F.linear(x.to(self.weight.dtype), self.weight).float()
        return _finish(y, row_scale, self.bias)


class CappedLinear:
    """`cap * tanh(y / cap)` of another linear's result y."""

    __slots__ = ("cap", "linear")

    def __init__(self, linear: Linear, cap: float) -> None:
        self.linear, self.cap = linear, cap

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        return self.linear(x, row_scale).div_(self.cap).tanh_().mul_(self.cap)


def needs_narrow_activations() -> bool:
    """Whether this processor's 8-bit products clip; see the module."""
    return not (torch.cpu._is_avx512_supported() and torch.cpu._is_vnni_supported())


class Int8Linear:
    """Weights int8 [out, in] with `scale` [out]; activations 8 bits a row, or 7 where `narrow` (None: if need be)."""

    __slots__ = ("bias", "narrow", "packed")

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor | None = None, *, narrow: bool | None = None
    ) -> None:
        self.packed = _pack(weight, scale)
        self.bias = bias
        self.narrow = needs_narrow_activations() if narrow is None else narrow

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        if x.shape[0] == 1:
            return _finish(_linear_dynamic(x, self.packed, self.narrow), row_scale, self.bias)
        largest = _largest(x)
        y = _linear_dynamic(x / largest, self.packed, self.narrow)
        return _finish(y, largest if row_scale is None else largest * row_scale, self.bias)


class WideInt8Linear:
    """Weights int8 [out, in] with `scale` [out]; activations 16 bits a row, in two passes of 8 bits (14 in two of 7).

    Each row becomes two: its value in whole steps of 1/127 of its maximum (1/63), and what that left over, in steps
    254 (126) times finer. Both are multiplied in one call, so that the weights are read once: at a single row, where
    memory is what counts, the second half is free. Two extra input channels of weight zero carry the ends of the range,
    which pins FBGEMM's on-the-fly scale to exactly 1, so that whole steps are kept exactly.

    Calls must not overlap: a single row is split in a buffer that is kept.
    """

    __slots__ = ("_row", "_row_rest", "_row_whole", "_steps", "bias", "inputs", "narrow", "packed")

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor | None = None, *, narrow: bool | None = None
    ) -> None:
        self.narrow = needs_narrow_activations() if narrow is None else narrow
        self._steps = 63.0 if self.narrow else 127.0
        self.inputs = weight.shape[1]
        self.packed = _pack(F.pad(weight, (0, 2)), scale)
        self.bias = bias
        self._row, self._row_whole, self._row_rest = self._halves(1)

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        rows = x.shape[0]
        step: float | Tensor
        if rows == 1:
            step = max(x.abs().max().item() / self._steps, _SMALLEST)
            y = self._multiply(x, 1.0 / step, self._row, self._row_whole, self._row_rest)
        else:
            step = _largest(x).div_(self._steps)
            y = self._multiply(x, 1.0 / step, *self._halves(rows))
        return _finish(y, step if row_scale is None else step * row_scale, self.bias)

    def _multiply(self, x: Tensor, scale: float | Tensor, both: Tensor, whole: Tensor, rest: Tensor) -> Tensor:
        """`x * scale` times the weight; `whole` and `rest` are the parts of `both` that hold the input channels."""
        torch.mul(x, scale, out=rest)
        torch.round(rest, out=whole)
        finer = 2 * self._steps
        rest.sub_(whole).mul_(finer)
        first, second = _linear_dynamic(both, self.packed, self.narrow).chunk(2)
        return first.add_(second, alpha=1 / finer)

    def _halves(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.empty(2 * rows, self.inputs + 2)
        both[:, self.inputs] = -self._steps - 1
        both[:, self.inputs + 1] = self._steps
        return both, both[:rows, : self.inputs], both[rows:, : self.inputs]


def _largest(x: Tensor) -> Tensor:
    """The largest absolute value of each row, [rows, 1]. The infinity norm says the same, ten times slower."""
    return x.abs().amax(-1, True).clamp_min_(_SMALLEST)


def _finish(y: Tensor, row_scale: RowScale, bias: Tensor | None) -> Tensor:
    if row_scale is None:
        return y if bias is None else y.add_(bias)
    if bias is None:
        return y.mul_(row_scale)
    if isinstance(row_scale, float):
        return torch.add(bias, y, alpha=row_scale)
    return torch.addcmul(bias, y, row_scale)


_linear_dynamic: Callable[[Tensor, torch.ScriptObject, bool], Tensor] = torch.ops.quantized.linear_dynamic.default
"""The bool is `reduce_range`: 7-bit activations."""


def _pack(weight: Tensor, scale: Tensor) -> torch.ScriptObject:
    """Copy int8 weights into FBGEMM's own layout."""
    _select_fbgemm()
    zero = torch.zeros(weight.shape[0], dtype=torch.long)
    quantised = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero, 0)
    return torch.ops.quantized.linear_prepack.default(quantised, None)  # type: ignore[no-any-return]


_selection = threading.Lock()
_selected = False


def _select_fbgemm() -> None:
    """The engine that packs is a setting of the process. PyTorch warns once that quantised tensors will go.

    Every operator looks for `__torch_function__` on its arguments. A packed weight answers by throwing and catching a
    C++ exception, 15 microseconds a call; a class attribute that says "none" spares it.
    """
    global _selected
    with _selection:
        if _selected:
            return
        torch.backends.quantized.engine = "fbgemm"
        torch.ScriptObject.__torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            torch._make_per_channel_quantized_tensor(
                torch.zeros(1, 1, dtype=torch.int8), torch.ones(1).double(), torch.zeros(1, dtype=torch.long), 0
            )
        _selected = True
