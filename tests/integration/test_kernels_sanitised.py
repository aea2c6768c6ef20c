"""The kernels under the compiler's address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openhearth.models.kernels.build import compile_library, find_compiler

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_step_beyond_an_array(tmp_path: Path) -> None:
    compiler = find_compiler()
    assert compiler is not None, "the kernels are tested with a C compiler at hand"
    compile_library(tmp_path / "hearth.so", compiler, sanitize=True)
    sanitizer = subprocess.run(
        [*compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "exercise_kernels.py", tmp_path / "hearth.so"],
        env={
            **os.environ,
            "LD_PRELOAD": sanitizer,
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own are many
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"
