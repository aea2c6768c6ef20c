"""A real web server that can misbehave, and catalog entries of a few bytes that lead to it."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openhearth import paths
from openhearth.config import Settings, load_settings


@dataclass
class Page:
    """What a path answers.

    `cut` ends the connection after so many bytes, as often as `cuts` says; after `stuck_after` cuts at once.
    """

    content: bytes = b""
    status: int = 200
    etag: str = '"one"'
    location: str = ""
    token: str = ""
    ranges: bool = True
    cut: int = 0
    cuts: int = 0
    stuck_after: int = 1 << 30
    failures: int = 0
    delay_s: float = 0.0


@dataclass
class WebServer:
    """`requests` holds the headers of every request but HEAD, by path."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self, path: str) -> list[str]:
        return [headers.get("Range", "") for asked, headers in self.requests if asked == path]


@pytest.fixture
def serve() -> Iterator[Any]:
    """Starts web servers; called twice, it gives two hosts."""
    running: list[tuple[_Server, threading.Thread]] = []

    def start(host: str = "127.0.0.1") -> WebServer:
        httpd = _Server((host, 0), _Handler)
        server = WebServer(f"http://{host}:{httpd.server_address[1]}")
        httpd.web = server  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((httpd, thread))
        return server

    yield start
    for httpd, thread in running:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture
def web(serve: Any) -> WebServer:
    server: WebServer = serve()
    return server


@pytest.fixture
def page() -> type[Page]:
    return Page


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def catalogue() -> Any:
    """Writes the user's catalog with one model that is kept as it is, so that no conversion takes part."""

    def write(files: dict[str, bytes], *sources: dict[str, Any], name: str = "tiny", parameters: int = 1000) -> str:
        entry = {
            "title": "Tiny",
            "licence": "Apache-2.0",
            "kind": "embedding",
            "parameters": parameters,
            "context": 16,
            "precision": "float32",
            "files": [
                {"name": file, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for file, content in files.items()
            ],
            "sources": list(sources),
        }
        lines = [f"[models.{name}]"] + [f"{key} = {_toml(value)}" for key, value in entry.items()]
        file = paths.config_dir() / "catalog.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        return name

    return write


@pytest.fixture
def settings_for() -> Any:
    """Settings that ask the given hub and give up quickly."""

    def make(hub: str = "http://127.0.0.1:9", **model: Any) -> Settings:
        return load_settings({"model": {"hub_endpoint": hub, "connect_timeout_s": 2.0, **model}}, folder=Path("/"))

    return make


@pytest.fixture
def content() -> bytes:
    """Three megabytes that compress badly and differ everywhere."""
    return b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(100_000))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Quiet: clients that hang up are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._head(200, 0)

    def do_GET(self) -> None:
        web: WebServer = self.server.web  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        web.requests.append((path, dict(self.headers.items())))
        page = web.pages.get(path)
        if page is None:
            self._answer(404, b"no such page")
        elif page.token and self.headers.get("Authorization") != f"Bearer {page.token}":
            self._answer(401, b"who are you?")
        elif page.failures:
            page.failures -= 1
            self._answer(503, b"later")
        elif page.location:
            self._head(302, 0, {"Location": page.location})
        elif page.status != 200:
            self._answer(page.status, page.content)
        else:
            self._send(page)

    def _send(self, page: Page) -> None:
        wanted = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range", page.etag) == page.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and page.ranges and unchanged else 0
        body = page.content[start:]
        headers = {"ETag": page.etag}
        if start >= len(page.content) and start:
            self._head(416, 0, headers)
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"
        self._head(206 if start else 200, len(body), headers)
        if page.cuts:
            page.cuts -= 1
            page.stuck_after -= 1
            self.wfile.write(body[: page.cut if page.stuck_after >= 0 else 0])
            self.close_connection = True
            return
        for begin in range(0, len(body), 1 << 18):
            if page.delay_s:
                threading.Event().wait(page.delay_s)
            try:
                self.wfile.write(body[begin : begin + (1 << 18)])
            except OSError:  # the client has gone
                self.close_connection = True
                return

    def _answer(self, status: int, body: bytes) -> None:
        self._head(status, len(body))
        self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
