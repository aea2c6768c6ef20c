"""A second torch device type, `slate`, in this process and without a compiler.

Its tensors are ordinary tensors of torch's PrivateUse1 device to whoever looks at them; behind each is a CPU tensor
that nobody else sees, on which every operation is computed. So it is slow, and exact, and has what a real accelerator
has and the CPU lacks: its tensors cannot be mixed with the CPU's, and kernels that exist on CPUs alone fail on it.

`FAULTS` breaks kernels: it maps an operator's name to a function that changes its result.

Registering cannot be undone, and makes it the process's accelerator: use it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "slate"
FAULTS: dict[str, Callable[[Tensor], Tensor]] = {}
"""By name without overload, such as `aten.linear`."""

MEMORY = (3 << 30, 4 << 30)
"""Bytes free and in all, as the device tells them."""

_libraries: list[torch.library.Library] = []


class SlateTensor(Tensor):
    """A tensor on the device; `raw` is the CPU tensor behind it."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> SlateTensor:
        # torch refuses views that are inference tensors of tensors that are none.
        with torch.inference_mode(False):
            made: SlateTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=NAME
            )
        made.raw = raw
        return made

    def __repr__(self, **_: Any) -> str:
        return f"{self.raw!r} on {NAME}"

    def tolist(self) -> Any:
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = str(func).removesuffix(f".{func._overloadname}")
        moves = name in ("aten._to_copy", "aten.copy_", "aten._copy_from")
        leaves = pytree.tree_leaves((args, kwargs))
        if not moves and any(type(leaf) is Tensor and leaf.dim() for leaf in leaves):
            raise RuntimeError(f"{name}: all tensors must be on the same device, but there are {NAME} and cpu.")
        wrapped = {id(leaf.raw): leaf for leaf in leaves if isinstance(leaf, SlateTensor)}
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = pytree.tree_map(lambda leaf: leaf.raw if isinstance(leaf, SlateTensor) else leaf, (args, kwargs))
        result = func(*args, **kwargs)
        if name == "aten._local_scalar_dense" or (target is not None and torch.device(target).type == "cpu"):
            return result
        if name in FAULTS and isinstance(result, Tensor) and id(result) not in wrapped:
            result = FAULTS[name](result)
        return pytree.tree_map(lambda leaf: _wrap(leaf, wrapped), result)


def register() -> torch.device:
    """Make the device known to torch; doing so twice is fine."""
    if not _libraries:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hooks())
        library = torch.library.Library("aten", "IMPL")
        for operator in ("empty.memory_format", "empty_strided"):
            library.impl(operator, _factory(operator), "PrivateUse1")
        library.impl("_copy_from", _copy_from, "PrivateUse1")
        _libraries.append(library)
        torch.accelerator.get_memory_info = lambda *_: MEMORY
    return torch.device(NAME)


def _wrap(leaf: Any, wrapped: Mapping[int, SlateTensor]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    known = wrapped.get(id(leaf))
    return SlateTensor(leaf) if known is None else known


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """What `torch.tensor(…, device=…)` calls where it passes by `__torch_dispatch__`."""
    raws = [tensor.raw if isinstance(tensor, SlateTensor) else tensor for tensor in (source, target)]
    raws[1].copy_(raws[0])
    return target


def _factory(operator: str) -> Callable[..., Tensor]:
    name, _, overload = operator.partition(".")
    make = getattr(getattr(torch.ops.aten, name), overload or "default")

    def kernel(*args: Any, **kwargs: Any) -> Tensor:
        return SlateTensor(make(*args, **{**kwargs, "device": torch.device("cpu")}))

    return kernel


class _Hooks(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return True

    def has_primary_context(self, device_index: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


class _Module:
    """What torch expects of `torch.slate`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """The device draws no random numbers of its own."""
