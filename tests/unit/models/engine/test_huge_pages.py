"""Huge pages: the right memory is asked for, and none is harmed."""

from __future__ import annotations

import threading

import torch

from openhearth.models.engine.huge_pages import _regions, use_huge_pages

MAPS = """\
55d0a0000000-55d0a4100000 rw-p 00000000 00:00 0                          [heap]
Size:              66560 kB
Rss:               66000 kB
VmFlags: rd wr mr mw me ac
7f0000100000-7f0008000000 rw-p 00000000 00:00 0
Rss:              100000 kB
7f1000000000-7f1004000000 rw-p 00000000 00:00 0
Rss:               65536 kB
7f2000000000-7f2004000000 r--p 00000000 08:01 4711                       /models/weights.safetensors
Rss:               65536 kB
7f3000000000-7f3004000000 rw-p 00000000 08:01 4711                       /models/weights.safetensors
Rss:               65536 kB
7f4000000000-7f4000800000 rw-p 00000000 00:00 0
Rss:                8192 kB
7ffd00000000-7ffd04000000 rw-p 00000000 00:00 0                          [stack]
Rss:               65536 kB
"""


def test_only_large_resident_anonymous_memory() -> None:
    assert list(_regions(MAPS)) == [(0x55D0A0000000, 0x55D0A4000000), (0x7F1000000000, 0x7F1004000000)]


def test_memory_keeps_its_content() -> None:
    data = torch.arange(10_000_000)
    granted = use_huge_pages(threading.Event())
    assert granted >= 0
    assert torch.equal(data, torch.arange(10_000_000))


def test_it_can_be_stopped() -> None:
    data = torch.ones(10_000_000)
    stop = threading.Event()
    stop.set()
    assert use_huge_pages(stop) == 0
    assert bool(data.all())
