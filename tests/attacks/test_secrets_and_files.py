"""Reading the host's secrets and writing outside the workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.arena import Arena

READ = "report(outcome=attempt(read, sys.argv[1]), content=read(sys.argv[1]) if os.path.exists(sys.argv[1]) else '')"


async def test_readable_host_files_are_hidden(arena: Arena) -> None:
    assert arena.outside(READ, arena.bait) == {"outcome": "worked", "content": "bait"}
    assert await arena.found(READ, arena.bait) == {"outcome": "ENOENT", "content": ""}


async def test_password_file(arena: Arena) -> None:
    look = "report(there=os.path.exists('/etc/shadow'), users=read('/etc/passwd').splitlines())"
    outside, inside = arena.outside(look), await arena.found(look)
    assert outside["there"]
    assert len(outside["users"]) > 1
    assert not inside["there"]
    assert [line.split(":")[0] for line in inside["users"]] == ["agent"]


async def test_keys_in_the_home_folder(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    home = arena.folder / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("PRIVATE KEY")
    monkeypatch.setenv("HOME", str(home))
    steal = """
home = os.environ.get("HOME", "/")
places = [os.path.expanduser("~/.ssh/id_ed25519"), home + "/.ssh/id_ed25519", sys.argv[1] + "/.ssh/id_ed25519"]
report(stolen=[read(place) for place in places if os.path.exists(place)], ssh=os.path.isdir(home + "/.ssh"))
"""
    assert "PRIVATE KEY" in arena.outside(steal, home)["stolen"]
    assert await arena.found(steal, home) == {"stolen": [], "ssh": False}
    for real in (Path("/root"), Path.home()):
        assert (await arena.found("report(there=os.path.exists(sys.argv[1]))", real / ".ssh"))["there"] is False


async def test_environments_of_the_host(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "token-of-the-host")
    hunt = """
found = []
for pid in [name for name in os.listdir("/proc") if name.isdigit()] + ["self"]:
    for file in ("environ", "cmdline"):
        try:
            found += [f"{file} of {pid}"] * ("token-of-the-host" in read(f"/proc/{pid}/{file}"))
        except OSError:
            pass
try:
    first = read("/proc/1/environ")
except OSError:
    first = ""
report(found=found, own=os.environ.get("API_TOKEN"), first=first)
"""
    outside = arena.outside(hunt, env=dict(os.environ))
    assert "environ of self" in outside["found"]
    assert outside["own"] == "token-of-the-host"
    inside = await arena.found(hunt)
    assert inside["found"] == []
    assert inside["own"] is None
    assert inside["first"] == ""


async def test_first_process_tells_no_host_paths(arena: Arena) -> None:
    look = "report(text=read('/proc/1/cmdline') + read('/proc/self/cmdline') + str(os.listdir('/proc/self/fd')))"
    assert str(arena.workspace) not in (await arena.found(look))["text"]


async def test_host_processes_are_invisible(arena: Arena) -> None:
    count = "report(pids=sorted(int(name) for name in os.listdir('/proc') if name.isdigit()), own=os.getpid())"
    assert os.getpid() in arena.outside(count)["pids"]
    inside = await arena.found(count)
    assert len(inside["pids"]) <= 3
    assert inside["own"] <= 3


async def test_writing_outside_the_workspace(arena: Arena) -> None:
    spread = """
targets = [sys.argv[1] + "/planted", "../planted", "/workspace/../planted", "/planted", "/usr/planted", "/etc/planted",
           "/opt/planted", "/input/planted", "/dev/planted", "/proc/planted", "/home/planted"]
report(outcomes=[attempt(write, target) for target in targets[:int(sys.argv[2])]])
"""
    assert arena.outside(spread, arena.open_folder, 1)["outcomes"] == ["worked"]
    (arena.open_folder / "planted").unlink()
    outcomes = (await arena.found(spread, arena.open_folder, 11))["outcomes"]
    assert "worked" not in outcomes
    assert len(outcomes) == 11
    assert sorted(path.name for path in arena.open_folder.iterdir()) == ["bait.txt"]
    assert not (arena.folder / "planted").exists()


async def test_changing_readable_mounts(arena: Arena) -> None:
    harm = """
report(chmod=attempt(os.chmod, "/input", 0o777), unlink=attempt(os.unlink, sys.argv[1]),
       rename=attempt(os.rename, sys.argv[1], sys.argv[1] + ".old"), launcher=attempt(write, "/opt/launch.py"))
"""
    inside = await arena.found(harm, f"/input/{arena.mark}.py")
    assert "worked" not in inside.values()


async def test_inputs_are_not_part_of_the_workspace(arena: Arena) -> None:
    result = await arena.inside("write('mine.txt')\nreport()")
    assert [change.path for change in result.changes] == ["mine.txt"]
