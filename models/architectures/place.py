"""Where a step's rows stand in their sequences, as all layers need it."""

from __future__ import annotations

import torch
from torch import Tensor

from openhearth.models.architectures.step import Step
from openhearth.models.layers.attention import causal_mask
from openhearth.models.layers.rope import rotations, spread
from openhearth.models.loading.config import DecoderConfig


class Place:
    """The rotation of a step's rows (see `spread`), also that of layers with a window where it is another, and, made
    when first asked for, the masks and slots that `attend` takes."""

    __slots__ = ("_masks", "_slots", "rotation", "step", "window_rotation")

    def __init__(self, rotation: Tensor, window_rotation: Tensor, step: Step) -> None:
        self.rotation, self.window_rotation = rotation, window_rotation
        self.step = step
        self._masks: dict[int | None, list[Tensor | None]] = {}
        self._slots: dict[int, Tensor] = {}

    def masks(self, window: int | None = None) -> list[Tensor | None]:
        """One `causal_mask` for each sequence of the step; made once for all layers with the same window."""
        masks = self._masks.get(window)
        if masks is None:
            device = self.step.ids.device
            masks = [causal_mask(span.length - span.rows, span.rows, device, window) for span in self.step.spans]
            self._masks[window] = masks
        return masks

    def slots_of(self, index: int) -> Tensor:
        """`Step.slots_of`, made once for all layers."""
        slots = self._slots.get(index)
        if slots is None:
            slots = self._slots[index] = self.step.slots_of(index)
        return slots


class Positions:
    """The rotations of all positions of a context of `context` tokens."""

    def __init__(self, config: DecoderConfig, context: int, device: torch.device) -> None:
        c = config
        self._rotated, self._plain = c.heads + c.kv_heads, c.kv_heads
        self._table = rotations(c.head_dim, c.rope_theta, c.rope_scaling, context, device, rotated=c.rotary_dim)
        self._window_table: Tensor | None = None
        if c.window_theta is not None:
            self._window_table = rotations(c.head_dim, c.window_theta, None, context, device, rotated=c.rotary_dim)

    def place(self, step: Step) -> Place:
        rotation = self._spread(self._table, step)
        table = self._window_table
        return Place(rotation, rotation if table is None else self._spread(table, step), step)

    def _spread(self, table: Tensor, step: Step) -> Tensor:
        if len(step.spans) == 1:
            end = step.spans[0].length
            rows = table[end - step.spans[0].rows : end]
        else:
            rows = table.index_select(0, step.positions)
        return spread(rows, self._rotated, self._plain)
