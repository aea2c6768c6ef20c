"""Compiles the kernels in `csrc` into one shared library. Runs without OpenHearth installed: setup.py calls it too.

    python -m openhearth.models.kernels.build [OUTPUT] [--sanitize]

Every level of instructions (csrc/level.c) is compiled with the options that allow it, and everything else without, so
that the library loads on every processor of its architecture; which level runs is decided there.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = Path(__file__).parent / "_hearth.so"

_COMMON = ("-std=gnu11", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-pthread")
# Results must not depend on the level: a product and a sum are fused where the source says so, and nowhere else.
_SPEED = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_SANITIZE = ("-O1", "-g", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
_X86_LEVELS = {"avx2": _AVX2, "avx512": (*_AVX512, "-mprefer-vector-width=512")}


def find_compiler() -> list[str] | None:
    """The command of a C compiler: `$CC`, `cc`, `gcc`, `clang`, or the `ziglang` package's; None when there is none."""
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


def compile_library(output: Path, compiler: Sequence[str], *, sanitize: bool = False) -> None:
    """Write the library to `output`, at once or not at all. Raises OSError, or CalledProcessError with the compiler's
    words in `stderr`."""
    levels: dict[str, Sequence[str]] = {"plain": ()}
    if platform.machine().lower() in ("x86_64", "amd64"):
        levels |= _X86_LEVELS
    options = [*_COMMON, *(_SANITIZE if sanitize else _SPEED)]
    with tempfile.TemporaryDirectory(prefix="hearth-kernels-") as folder:
        work = [(SOURCES / "level.c", f"level_{name}", [*more, f"-DLEVEL={name}"]) for name, more in levels.items()]
        work += [(source, source.stem, []) for source in sorted(SOURCES.glob("*.c")) if source.stem != "level"]
        objects = [Path(folder) / f"{name}.o" for _, name, _ in work]

        def compile_one(index: int) -> None:
            source, _, more = work[index]
            _run([*compiler, *options, *more, "-c", str(source), "-o", str(objects[index])])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, range(len(work))))
        linked = Path(folder) / output.name
        _run([*compiler, *options, "-shared", "-o", str(linked), *map(str, objects), "-lm"])
        draft = output.with_name(f".{output.name}.{os.getpid()}")
        shutil.copy(linked, draft)
        draft.replace(output)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=LIBRARY)
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    options = parser.parse_args()
    compiler = find_compiler()
    if compiler is None:
        sys.exit("No C compiler was found. Install one, or the Python package ziglang.")
    try:
        compile_library(options.output, compiler, sanitize=options.sanitize)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)


if __name__ == "__main__":
    main()
