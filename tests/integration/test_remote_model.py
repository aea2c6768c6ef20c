"""The remote backend against a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from openhearth.config import RemoteSettings, Settings
from openhearth.errors import ConfigError, ContextOverflowError, RemoteModelError
from openhearth.models.backends.remote import RemoteModel
from openhearth.models.open import open_model
from openhearth.types import CallPiece, Message, ModelRequest, Piece, Reply, Sampling, TextPiece, ToolCall, ToolSpec

LOOKUP = ToolSpec(name="lookup", description="Look up.", parameters={"type": "object"})
PYTHON = ToolSpec(name="python", description="Run.", parameters={"type": "object"}, language="python")
KEY = "sk-very-secret"

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the server's answers in order, the last one for ever."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(("GET", self.path, dict(self.headers), None))
        self.server.models(self)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(("POST", self.path, dict(self.headers), body))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def begin(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[Answer] = []
        self.models: Answer = refuse(404, "no list")
        self.reference = f"http://127.0.0.1:{self.server_port}/v1#m"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is part of the tests."""

    @property
    def posts(self) -> list[Any]:
        return [body for method, _, _, body in self.seen if method == "POST"]


def refuse(status: int, message: str, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin(status, "application/json", **headers)
        handler.wfile.write(json.dumps({"error": {"message": message}}).encode())

    return answer


def raw(data: bytes, kind: str = "text/event-stream") -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin(200, kind)
        handler.wfile.write(data)

    return answer


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    value = {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def stream(*events: bytes) -> Answer:
    return raw(b"".join(events) + b"data: [DONE]\n\n")


def said(*texts: str) -> list[bytes]:
    return [event({"content": text}) for text in texts]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


async def open_remote(server: Server, **remote: Any) -> RemoteModel:
    return await RemoteModel.open(server.reference, Settings(remote=RemoteSettings(**remote)), backoff_s=0.01)


async def ask(server: Server, remote: dict[str, Any] | None = None, **fields: Any) -> tuple[list[Piece], Reply]:
    model = await open_remote(server, **(remote or {}))
    try:
        messages = fields.pop("messages", (Message(role="user", content="Hi"),))
        pieces = [piece async for piece in model.stream(ModelRequest(messages=messages, **fields))]
    finally:
        await model.aclose()
    reply = pieces.pop()
    assert isinstance(reply, Reply)
    return pieces, reply


async def test_text_streams_with_usage(server: Server) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    server.answers = [
        stream(b": hello\n\n", event({"role": "assistant", "content": ""}), *said("Hel", "lo ", "\u2028é"),
               event(finish="stop"), b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\r\n\r\n")
    ]  # fmt: skip
    pieces, reply = await ask(server)
    assert [piece.text for piece in pieces if isinstance(piece, TextPiece)] == ["Hel", "lo ", "\u2028é"]
    assert reply.message == Message(role="assistant", content="Hello \u2028é")
    assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens) == (9, 4, 3)
    assert reply.finish == "stop"


async def test_the_request_is_openais(server: Server) -> None:
    server.answers = [stream(*said("ok"), event(finish="stop"))]
    history = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look."),
        Message(role="assistant", tool_calls=(ToolCall(id="call_1", name="lookup", arguments={"city": "Röm"}),)),
        Message(role="tool", content="21", tool_call_id="call_1", name="lookup"),
    )
    sampling = Sampling(temperature=0.5, seed=0, max_tokens=7, stop=("END",), top_k=3)
    schema = {"type": "object"}
    await ask(
        server, messages=history, tools=(LOOKUP,), tool_choice="tool:lookup", sampling=sampling, output_schema=schema
    )
    (body,) = server.posts
    assert body["model"] == "m"
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "lookup", "arguments": '{"city": "Röm"}'}
    assert body["messages"][3] == {"role": "tool", "content": "21", "tool_call_id": "call_1", "name": "lookup"}
    assert body["tools"][0]["function"]["name"] == "lookup"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "lookup"}}
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert (body["temperature"], body["seed"], body["max_tokens"], body["stop"], body["top_k"]) == (
        0.5, 0, 7, ["END"], 3,
    )  # fmt: skip
    assert "min_p" not in body
    assert body["stream_options"] == {"include_usage": True}


async def test_native_calls_come_in_fragments(server: Server) -> None:
    def call(index: int, **function: str) -> bytes:
        return event({"tool_calls": [{"index": index, "id": "x", "type": "function", "function": function}]})

    server.answers = [
        stream(*said("Wait."), call(0, name="lookup", arguments=""), call(0, arguments='{"a": '),
               call(1, name="lookup", arguments="{}"), call(0, arguments="1}"), event(finish="tool_calls"))
    ]  # fmt: skip
    pieces, reply = await ask(server, tools=(LOOKUP,))
    assert [(c.name, c.arguments) for c in reply.message.tool_calls] == [("lookup", {"a": 1}), ("lookup", {})]
    assert len({c.id for c in reply.message.tool_calls}) == 2
    assert "".join(p.text for p in pieces if isinstance(p, CallPiece) and p.index == 0) == '{"a": 1}'
    assert (reply.message.content, reply.finish) == ("Wait.", "tool_calls")


async def test_a_native_call_that_cannot_be_read_is_text(server: Server) -> None:
    bad = event({"tool_calls": [{"index": 0, "function": {"name": "lookup", "arguments": '{"a": "cut'}}]})
    server.answers = [stream(bad, event(finish="length"))]
    _, reply = await ask(server, tools=(LOOKUP,))
    assert (reply.message.tool_calls, reply.message.content, reply.finish) == ((), 'lookup {"a": "cut', "length")


async def test_calls_written_as_text_are_read(server: Server) -> None:
    source = '<tool_call>\n{"name": "lookup", "arguments": {"a": """b"c""",}}\n</tool_call>'
    server.answers = [stream(*said("Sure. ", *source), event(finish="stop"))]
    pieces, reply = await ask(server, tools=(LOOKUP,))
    assert [(c.name, c.arguments) for c in reply.message.tool_calls] == [("lookup", {"a": 'b"c'})]
    assert (reply.message.content, reply.finish) == ("Sure.", "tool_calls")
    assert "<" not in "".join(piece.text for piece in pieces if isinstance(piece, TextPiece))


async def test_a_code_block_ends_the_reply_at_once(server: Server) -> None:
    left = threading.Event()

    def answer(handler: Handler) -> None:
        handler.begin()
        handler.wfile.write(b"".join(said("```python\n", "print(1)\n", "```\n")))
        handler.wfile.flush()
        while not left.wait(0.005):
            try:
                handler.wfile.write(event({"content": "Output: 1"}))
            except OSError:
                left.set()

    server.answers = [answer]
    _, reply = await ask(server, tools=(PYTHON,))
    assert reply.message.content == ""
    assert [(c.name, c.arguments) for c in reply.message.tool_calls] == [("python", {"code": "print(1)"})]
    assert reply.usage.completion_tokens == 3
    assert reply.usage.prompt_tokens > 0
    assert await asyncio.to_thread(left.wait, 10)


async def test_with_choice_none_nothing_is_a_call(server: Server) -> None:
    text = '{"name": "lookup", "arguments": {}}'
    server.answers = [stream(*said(text), event(finish="stop"))]
    _, reply = await ask(server, tools=(LOOKUP,), tool_choice="none")
    assert (reply.message.content, reply.finish) == (text, "stop")


async def test_a_server_that_does_not_stream_is_understood(server: Server) -> None:
    message = {"role": "assistant", "content": "Hi", "tool_calls": None}
    value = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 2}}
    server.answers = [raw(json.dumps(value).encode(), "application/json")]
    _, reply = await ask(server)
    assert (reply.message.content, reply.usage.prompt_tokens) == ("Hi", 2)


async def test_429_and_500_are_tried_again(server: Server) -> None:
    server.answers = [
        refuse(429, "slow down", Retry_After="0"),
        refuse(500, "oops"),
        stream(*said("ok"), event(finish="stop")),
    ]
    _, reply = await ask(server)
    assert reply.message.content == "ok"
    assert len(server.posts) == 3


async def test_retries_end(server: Server) -> None:
    server.answers = [refuse(503, "busy")]
    with pytest.raises(RemoteModelError, match="answered 503: busy"):
        await ask(server, {"retries": 2})
    assert len(server.posts) == 3


async def test_a_pause_that_is_too_long_is_not_waited_for(server: Server) -> None:
    server.answers = [refuse(429, "quota", Retry_After="3600")]
    with pytest.raises(RemoteModelError, match="answered 429: quota"):
        await ask(server)
    assert len(server.posts) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_other_refusals_are_final(server: Server, status: int) -> None:
    server.answers = [refuse(status, f"bad key {KEY}")]
    with pytest.raises(RemoteModelError, match=rf"answered {status}: bad key \[key\]") as caught:
        await ask(server, {"api_key": KEY})
    assert KEY not in str(caught.value)
    assert len(server.posts) == 1


async def test_a_context_that_is_too_small_is_named(server: Server) -> None:
    server.answers = [refuse(400, "This model's maximum context length is 8 tokens.")]
    with pytest.raises(ContextOverflowError, match="maximum context length is 8"):
        await ask(server)


async def test_a_lost_connection_is_an_error_and_not_tried_again(server: Server) -> None:
    server.answers = [raw(b"".join(said("Hel")))]
    with pytest.raises(RemoteModelError, match="broke the connection in the middle"):
        await ask(server)
    assert len(server.posts) == 1


async def test_a_chunk_that_is_cut_is_an_error(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(said("Hel")[0])
        handler.close_connection = True

    server.answers = [answer]
    with pytest.raises(RemoteModelError, match="broke the connection in the middle"):
        await ask(server)


async def test_no_answer_at_all_is_tried_again(server: Server) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    server.answers = [hang_up, stream(*said("ok"), event(finish="stop"))]
    assert (await ask(server))[1].message.content == "ok"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"data: {oops\n\n", "sent something that is no event"),
        (b"data: \xff\n\n", "not UTF-8"),
        (b'data: {"error": {"message": "out of memory"}}\n\n', "out of memory"),
    ],
)
async def test_malformed_events_are_errors(server: Server, data: bytes, message: str) -> None:
    server.answers = [raw(data)]
    with pytest.raises(RemoteModelError, match=message):
        await ask(server)


@pytest.mark.parametrize("value", [[], 3, {"choices": 3}, {"choices": [None]}, {"choices": [{"delta": None}]}])
async def test_strange_events_are_skipped(server: Server, value: Any) -> None:
    server.answers = [stream(b"data: " + json.dumps(value).encode() + b"\n\n", *said("ok"), event(finish="stop"))]
    assert (await ask(server))[1].message.content == "ok"


async def test_silence_is_an_error(server: Server) -> None:
    release = threading.Event()

    def answer(handler: Handler) -> None:
        handler.begin()
        handler.wfile.write(said("Hel")[0])
        handler.wfile.flush()
        release.wait(20)

    server.answers = [answer]
    try:
        with pytest.raises(RemoteModelError, match="sent nothing for too long"):
            await ask(server, {"timeout_s": 0.2})
    finally:
        release.set()


@pytest.mark.parametrize("before_first_byte", [True, False])
async def test_the_time_limit_ends_the_reply(server: Server, before_first_byte: bool) -> None:
    release = threading.Event()

    def answer(handler: Handler) -> None:
        if not before_first_byte:
            handler.begin()
            handler.wfile.write(said("Hel")[0])
            handler.wfile.flush()
        release.wait(20)

    server.answers = [answer]
    try:
        _, reply = await ask(server, time_limit_s=0.3)
    finally:
        release.set()
    assert (reply.message.content, reply.finish) == ("" if before_first_byte else "Hel", "length")


async def test_closing_early_closes_the_connection(server: Server) -> None:
    left = threading.Event()

    def answer(handler: Handler) -> None:
        handler.begin()
        while not left.is_set():
            try:
                handler.wfile.write(said("x ")[0])
                handler.wfile.flush()
            except OSError:
                left.set()

    server.answers = [answer]
    model = await open_remote(server)
    pieces = model.stream(ModelRequest(messages=(Message(role="user", content="Hi"),)))
    async for _ in pieces:
        break
    await pieces.aclose()
    assert await asyncio.to_thread(left.wait, 10)
    await model.aclose()


async def test_stop_strings_hold_whatever_the_server_does(server: Server) -> None:
    server.answers = [stream(*said("one E", "N", "D two"), event(finish="stop"))]
    _, reply = await ask(server, sampling=Sampling(stop=("END",)))
    assert (reply.message.content, reply.finish) == ("one ", "stop")


@pytest.mark.parametrize(
    ("entry", "context"),
    [({"max_model_len": 4096}, 4096), ({"meta": {"n_ctx": 2048}}, 2048), ({}, 32_768), ({"id": "other"}, 32_768)],
)
async def test_the_context_is_the_servers(server: Server, entry: dict[str, Any], context: int) -> None:
    server.models = raw(json.dumps({"data": [{"id": "m", **entry}]}).encode(), "application/json")
    model = await open_model(server.reference, Settings())
    assert (model.info.context_length, model.info.backend) == (context, "remote")
    assert await model.count_tokens(ModelRequest(messages=())) is None
    await model.aclose()


async def test_opening_fails_where_no_server_is() -> None:
    settings = Settings(remote=RemoteSettings(retries=1))
    with pytest.raises(RemoteModelError, match="cannot be reached"):
        await RemoteModel.open("http://127.0.0.1:9/v1#m", settings, backoff_s=0.01)


async def test_opening_fails_where_the_key_is_refused(server: Server) -> None:
    server.models = refuse(401, "who are you?")
    with pytest.raises(RemoteModelError, match="answered 401") as caught:
        await open_remote(server)
    assert "remote.api_key" in caught.value.hint


async def test_the_key_comes_from_settings_or_file_and_is_never_shown(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    file = tmp_path / "key"
    file.write_text("sk-file\nsecond line\n")
    server.answers = [stream(*said("ok"), event(finish="stop"))]
    for remote, sent in (
        ({"api_key": KEY}, f"Bearer {KEY}"), ({"api_key_file": file}, "Bearer sk-file"), ({}, None),
    ):  # fmt: skip
        server.seen.clear()
        await ask(server, remote)
        assert {headers.get("Authorization") for _, _, headers, _ in server.seen} == {sent}
    assert KEY not in caplog.text
    assert "sk-file" not in caplog.text


async def test_a_key_file_that_is_missing_and_keys_in_addresses_are_mistakes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the key"):
        await open_remote(server, api_key_file=tmp_path / "none")
    with pytest.raises(ConfigError, match="no user name"):
        await RemoteModel.open("http://me:secret@127.0.0.1/v1#m", Settings())
