"""The HTTP side of a remote model: where it is, how it is asked, how failures are told and tried again."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from openhearth.config import RemoteSettings
from openhearth.errors import ConfigError, ContextOverflowError, RemoteModelError

OPENAI_HOST = "api.openai.com"
OPENAI_VARIABLE = "OPENAI_API_KEY"

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 60.0
_CONNECT_S = 10.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OVERFLOW = re.compile(r"context[ _](length|window|size)|maximum context|too many tokens", re.IGNORECASE)


class HttpRefusalError(RemoteModelError):
    """The server answered, with a status that is no success."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RemoteClient:
    """One server. Its key is sent to it and shown nowhere: not in errors, not in logs, not in `repr`."""

    def __init__(self, url: str, settings: RemoteSettings, *, backoff_s: float = 0.5) -> None:
        """`url` as in a reference, without the model's name. Raises ConfigError for a key that cannot be read."""
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ConfigError(
                "A model reference holds no user name and no password.", hint="Set remote.api_key or api_key_file."
            )
        self.base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._query = f"?{parts.query}" if parts.query else ""
        try:
            httpx.URL(self.base)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{self.base} is no web address: {error}.") from error
        self._retries = settings.retries
        self._backoff_s = backoff_s
        self._key = _find_key(settings, parts.hostname or "")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s)),
            trust_env=parts.hostname not in _LOOPBACK,  # a proxy leads away from this machine
        )

    async def get_json(self, path: str) -> Any:
        """Raises RemoteModelError."""
        async with self.open("GET", path) as response:
            return _parsed(await _body(response))

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: Any = None, *, deadline: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A successful response, its body unread. Refusals that may pass are tried again until `deadline`.

        `deadline` is a `time.monotonic()` value; reaching it before the response is a TimeoutError. Raises
        RemoteModelError, or ContextOverflowError when the server says so.
        """
        response = await self._send(method, path, body, deadline)
        try:
            yield response
        except httpx.RequestError as error:
            raise self._lost(error) from error
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _send(self, method: str, path: str, body: Any, deadline: float | None) -> httpx.Response:
        for attempt in range(self._retries + 1):
            pause = self._backoff_s * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads, hides nothing
            try:
                request = self._client.build_request(method, f"{self.base}{path}{self._query}", json=body)
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    response = await self._client.send(request, stream=True)
            except httpx.TransportError as error:
                failure: RemoteModelError | ContextOverflowError = self._unreachable(error)
                failure.__cause__ = error
                again = not isinstance(error, httpx.ReadTimeout | httpx.UnsupportedProtocol)
            else:
                if response.is_success:
                    return response
                failure = await self._refusal(response)
                again = response.status_code in _RETRIED
                pause = max(pause, _retry_after(response))
            too_long = pause > _LONGEST_PAUSE_S or (deadline is not None and time.monotonic() + pause > deadline)
            if not again or attempt == self._retries or too_long:
                raise failure
            await asyncio.sleep(pause)
        raise RemoteModelError(f"{self.base} was not asked.")  # retries is never negative

    async def _refusal(self, response: httpx.Response) -> RemoteModelError | ContextOverflowError:
        try:
            text = _error_text(await _body(response))
        except httpx.TransportError:
            text = ""
        finally:
            await response.aclose()
        status = response.status_code
        said = self.redact(text)
        message = f"{self.base} answered {status}{f': {said}' if said else '.'}"
        if status in (400, 413, 422) and _OVERFLOW.search(text):
            return ContextOverflowError(message, hint="Shorten the conversation, or offer fewer tools.")
        return HttpRefusalError(message, status=status, hint=_HINTS.get(status, ""))

    def redact(self, text: str) -> str:
        """`text`, cut to a line's length and without the key, should the server have repeated it."""
        text = " ".join(text.split())[:300]
        return text.replace(self._key, "[key]") if self._key else text

    def _unreachable(self, error: httpx.TransportError) -> RemoteModelError:
        if isinstance(error, httpx.TimeoutException):
            return RemoteModelError(
                f"{self.base} did not answer in time.", hint="Raise remote.timeout_s, or see whether it is overloaded."
            )
        return RemoteModelError(
            f"{self.base} cannot be reached: {self.redact(str(error)) or type(error).__name__}.",
            hint="Start the server, or mend the address in the model reference.",
        )

    def _lost(self, error: httpx.RequestError) -> RemoteModelError:
        what = "sent nothing for too long" if isinstance(error, httpx.TimeoutException) else "broke the connection"
        return RemoteModelError(f"{self.base} {what} in the middle of a reply.", hint="Ask again.")


_HINTS = {
    401: "Set remote.api_key, remote.api_key_file or HEARTH_REMOTE__API_KEY.",
    403: "The key is not allowed to use this model.",
    404: "See whether the address ends in /v1 and whether the server has this model.",
    429: "Wait a while, or raise remote.retries.",
}


def _find_key(settings: RemoteSettings, host: str) -> str:
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    if settings.api_key_file is not None:
        try:
            with settings.api_key_file.expanduser().open(encoding="utf-8") as file:
                return file.readline().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"Cannot read the key in {settings.api_key_file}: {getattr(error, 'strerror', 'it is not text')}.",
                hint="remote.api_key_file names a file whose first line is the key.",
            ) from error
    return os.environ.get(OPENAI_VARIABLE, "") if host == OPENAI_HOST else ""


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait: a number, or a date."""
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


async def _body(response: httpx.Response, limit: int = 4 * 1024 * 1024) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    return body


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise RemoteModelError("The server's answer is not JSON.", hint="Does the address end in /v1?") from error


def _error_text(body: bytes) -> str:
    """What an error response says, in any of the forms that servers use."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    for key in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    return value if isinstance(value, str) else json.dumps(value)
