"""Reaching anything through a socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from support.arena import Arena


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.05)
        yield server


def reached(server: socket.socket) -> bool:
    with contextlib.suppress(TimeoutError):
        if server.type == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            server.recv(100)
        return True
    return False


async def test_tcp(arena: Arena, tcp: socket.socket) -> None:
    connect = "report(outcome=attempt(socket.create_connection, ('127.0.0.1', int(sys.argv[1])), 2))"
    port = tcp.getsockname()[1]
    assert arena.outside(connect, port)["outcome"] == "worked"
    assert reached(tcp)
    assert (await arena.found(connect, port))["outcome"] == "EPERM"
    assert not reached(tcp)


async def test_udp(arena: Arena, udp: socket.socket) -> None:
    send = """
def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(sys.argv[1])))
report(outcome=attempt(send))
"""
    port = udp.getsockname()[1]
    assert arena.outside(send, port)["outcome"] == "worked"
    assert reached(udp)
    assert (await arena.found(send, port))["outcome"] == "EPERM"
    assert not reached(udp)


@pytest.mark.parametrize("abstract", [False, True], ids=["pathname", "abstract"])
async def test_unix_sockets(arena: Arena, abstract: bool) -> None:
    address = f"\0{arena.mark}" if abstract else str(arena.open_folder / "s")
    connect = """
def connect():
    server = sys.argv[1].replace("@", chr(0))
    socket.socket(socket.AF_UNIX).connect(server)
report(outcome=attempt(connect))
"""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.05)
        argument = address.replace("\0", "@")
        assert arena.outside(connect, argument)["outcome"] == "worked"
        assert reached(server)
        assert (await arena.found(connect, argument))["outcome"] == "EPERM"
        assert not reached(server)


async def test_every_family_is_refused_and_a_pair_is_not(arena: Arena) -> None:
    families = """
report(refused=[attempt(socket.socket, family, kind) for family in range(1, 46) for kind in (1, 2, 3)],
       stream=attempt(socket.socketpair), datagram=attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM))
"""
    outside, inside = arena.outside(families), await arena.found(families)
    assert "worked" in outside["refused"]
    assert outside["datagram"] == "worked"
    assert set(inside["refused"]) == {"EPERM"}
    assert inside["stream"] == "worked"
    assert inside["datagram"] == "EPERM"


async def test_a_socket_inherited_as_a_descriptor(arena: Arena) -> None:
    look = """
kinds = []
for fd in range(3, 256):
    try:
        kinds.append(stat.S_IFMT(os.fstat(fd).st_mode))
    except OSError:
        pass
report(open=len(kinds))
"""
    assert (await arena.found(look))["open"] == 0


async def test_names_are_not_resolved(arena: Arena) -> None:
    resolve = "report(outcome=attempt(socket.getaddrinfo, 'example.com', 443))"
    assert (await arena.found(resolve))["outcome"] != "worked"


async def test_only_the_loopback_interface_exists_and_it_is_down(arena: Arena) -> None:
    look = "report(names=[line.split(':')[0].strip() for line in read('/proc/net/dev').splitlines()[2:]])"
    assert (await arena.found(look))["names"] in ([], ["lo"])


async def test_libraries_that_need_a_pair_still_work(arena: Arena) -> None:
    use = """
import asyncio, multiprocessing, subprocess
async def sleep():
    await asyncio.sleep(0)
asyncio.run(sleep())
with multiprocessing.get_context("fork").Pool(2) as pool:
    squares = pool.map(abs, [-1, -2])
report(squares=squares, shell=subprocess.run(["sh", "-c", "echo hi"], capture_output=True, text=True).stdout)
"""
    assert await arena.found(use) == {"squares": [1, 2], "shell": "hi\n"}
