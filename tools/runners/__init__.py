"""Programs that run inside the sandbox.

They are read as text and never imported here; they need nothing but the standard library and what the sandbox offers.
"""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def runner_source(name: str) -> bytes:
    """The source of one of them, by its file name."""
    return resources.files(__name__).joinpath(name).read_bytes()
