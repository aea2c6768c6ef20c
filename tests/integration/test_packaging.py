"""The package as others get it: sdist and wheel are built, the wheel is installed in a clean venv and used."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it, out of a copy of the tracked tree."""
    base = tmp_path_factory.mktemp("packaging")
    tree = _tracked_tree(base / "tree")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", base / "dist", tree)
    return base / "dist"


def _tracked_tree(folder: Path) -> Path:
    folder.mkdir()
    run("git", "-C", ROOT, "checkout-index", "--all", f"--prefix={folder}/")
    return folder


@pytest.fixture(scope="module")
def clean_python(built: Path) -> Path:
    """A venv that holds the wheel and sees the dependencies of this one, but not this source tree."""
    home = built.parent / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", wheel)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A plain path line gives it the dependencies; .pth files of that folder, the editable hook among them, are not run.
    dependencies = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(purelib, "dependencies.pth").write_text(dependencies + "\n", encoding="utf-8")
    return python


def test_openhearth_is_the_only_top_level_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert top == {"openhearth"}


def test_wheel_and_tree_hold_the_same_modules(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    tracked = run("git", "-C", ROOT, "ls-files", "openhearth", "agents", "models", "storage", "tools", "tui").split()
    links = {f"openhearth/{name}" for name in ("agents", "models", "storage", "tools", "tui")}
    expected = {name if name.startswith("openhearth/") else f"openhearth/{name}" for name in tracked} - links
    assert packed == expected | {"openhearth/models/kernels/_hearth.so"}


def test_the_sdist_holds_sources_and_licence(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "openhearth/types.py", "models/catalog.toml"} <= names


def test_the_installed_wheel_works(clean_python: Path, tmp_path: Path) -> None:
    where = run(clean_python, "-c", "import openhearth.models.base as m; print(m.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(clean_python.parents[1])
    out = run(clean_python.with_name("hearth"), "version", cwd=tmp_path)
    assert "0.1.0" in out


def test_the_installed_wheel_can_migrate_a_database(clean_python: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from openhearth.storage.store import Store\n"
        "Store.open('sqlite:///' + str(Path('hearth.db').absolute()), backup_folder=Path('backups')).close()\n"
    )
    run(clean_python, "-c", code, cwd=tmp_path)
    assert (tmp_path / "hearth.db").stat().st_size > 0


def test_the_installed_wheel_brings_the_kernels(built: Path, clean_python: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name.startswith("openhearth-")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    code = "from openhearth.models.kernels.library import level; print(level())"
    assert run(clean_python, "-c", code, cwd=tmp_path).strip() in ("avx512", "avx2", "plain")


def test_an_editable_install_puts_the_kernels_into_a_fresh_tree(tmp_path: Path) -> None:
    tree = _tracked_tree(tmp_path / "tree")
    run(
        sys.executable,
        "-c",
        f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})",
        cwd=tree,
    )
    code = "from openhearth.models.kernels import library; print(library.__file__, library.level())"
    file, level = run(
        sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {code}", cwd=tmp_path
    ).split()
    assert Path(file).is_relative_to(tree)
    assert level in ("avx512", "avx2", "plain")
