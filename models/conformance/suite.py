"""The conformance suite: does a device compute what the engine asks of it?

Every kernel, with every kind of weight, and a tiny random model, read in all the ways in which the engine reads texts,
are compared with plain formulas on the CPU (plain.py). A device that passes gives the answers that the models' authors
meant; a driver, a compiler or a chip that miscomputes is named instead of blamed on the model.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from openhearth.models.conformance.kernels import check_kernels
from openhearth.models.conformance.samples import FLOATS, INT8, NATIVE
from openhearth.models.conformance.tiny import check_tiny_model
from openhearth.models.conformance.verdict import Verdict


def check_device(device: torch.device) -> Iterator[Verdict]:
    """All verdicts, as they are reached; takes a second or two."""
    yield from check_kernels(device, (*FLOATS, *INT8, *NATIVE, "q4k+q6k"))
    yield from check_tiny_model(device)
