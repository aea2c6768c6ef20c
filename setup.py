"""The native part of the build; all else stands in pyproject.toml.

The kernels are compiled with the machine's C compiler, or with the one in the `ziglang` package, which is then asked
for as a build requirement. Where neither works the package is installed without them, and computes with PyTorch alone.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

LIBRARY = "openhearth.models.kernels._hearth"

_spec = importlib.util.spec_from_file_location(
    "hearth_kernels_build", Path(__file__).parent / "models/kernels/build.py"
)
assert _spec is not None
assert _spec.loader is not None
kernels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernels)


class BuildLibrary(build_ext):
    """Compiles a plain shared library in place of an extension module."""

    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', '/')}.so"

    def build_extension(self, ext: Extension) -> None:
        output = Path(self.get_ext_fullpath(ext.name))
        output.parent.mkdir(parents=True, exist_ok=True)
        compiler = kernels.find_compiler()
        if compiler is None:
            print("openhearth: no C compiler; installing without the native kernels", file=sys.stderr)
            return
        try:
            kernels.compile_library(output, compiler)
        except (OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", None) or error
            print(f"openhearth: the native kernels do not compile, installing without them: {words}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]


class PlatformWheel(bdist_wheel):
    """The library depends on the platform, and on no version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension(LIBRARY, sources=[], optional=True)],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
    setup_requires=[] if kernels.find_compiler() else ["ziglang>=0.14"],
)
