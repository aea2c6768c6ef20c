"""The kernels' threads: many callers at once, any number of threads, ends and forks in between."""

from __future__ import annotations

import ctypes
import os
import threading
import warnings

import torch
from support.kernels import multiply, weights


def test_callers_share_the_threads(library: ctypes.CDLL) -> None:
    weight = weights("q4", 200, 256)
    inputs = [torch.randn(1 + n % 5, 256) for n in range(24)]
    expected = [multiply(library, weight, x, threads=1) for x in inputs]
    wrong: list[int] = []

    def call(offset: int) -> None:
        for n in range(150):
            index = (n + offset) % len(inputs)
            if not torch.equal(multiply(library, weight, inputs[index], threads=1 + n % 4), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=call, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_threads_end_and_come_back(library: ctypes.CDLL) -> None:
    weight, x = weights("q4", 64, 256), torch.randn(2, 256)
    expected = multiply(library, weight, x, threads=3)
    for _ in range(20):
        before = _thread_count()
        multiply(library, weight, x, threads=4)
        library.hearth_stop()
        assert _thread_count() <= before
        assert torch.equal(multiply(library, weight, x, threads=3), expected)


def test_a_forked_child_computes(library: ctypes.CDLL) -> None:
    weight, x = weights("q8", 64, 256), torch.randn(2, 256)
    expected = multiply(library, weight, x, threads=3)
    with warnings.catch_warnings():
        # From Python 3.12 on, forking with threads is warned of.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(multiply(library, weight, x, threads=3), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(multiply(library, weight, x, threads=3), expected)


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))
