"""One file over HTTP: resumed where it broke off, retried while that helps, given up quickly when nobody answers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from openhearth.errors import DownloadError, IntegrityError
from openhearth.models.sources.files import disk_errors
from openhearth.models.sources.job import Job

_READ_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.5
_RETRIED = {408, 429, 500, 502, 503, 504}
_PARTIAL, _RANGE_REFUSED = 206, 416
_DENIED = {401, 403}


def open_client(job: Job, *, token: str | None = None) -> httpx.Client:
    """A client that follows redirects; httpx drops the token when one leads to another host."""
    headers = {"User-Agent": "openhearth", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=job.settings.model.connect_timeout_s)
    return httpx.Client(headers=headers, timeout=timeout, follow_redirects=True)


def check_reachable(client: httpx.Client, url: str, job: Job) -> None:
    """Raise DownloadError unless the server answers, with whatever status, within the connect time-out.

    The connect time-out alone does not bound this: it holds for each address of a host, and not for resolving it.
    """
    failures: list[httpx.HTTPError] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            client.head(url, follow_redirects=False)
        except httpx.HTTPError as error:
            failures.append(error)
        except RuntimeError:  # the client was closed because nobody waits any longer
            return
        answered.set()

    threading.Thread(target=ask, daemon=True, name="reach").start()
    limit = job.settings.model.connect_timeout_s
    waited = 0.0
    while not answered.wait(0.05) and waited < limit:
        waited += 0.05
        job.check()
    if not answered.is_set():
        raise _unreachable(url, f"no answer within {limit:g} s")
    if failures:
        raise _unreachable(url, str(failures[0])) from failures[0]


def get_json(client: httpx.Client, url: str, job: Job) -> object:
    """A small JSON document. Raises DownloadError."""
    try:
        response = client.get(url)
        job.check()
        if not response.is_success:
            raise _refusal(response)
        return response.json()
    except httpx.HTTPError as error:
        raise _unreachable(url, str(error)) from error
    except ValueError as error:
        raise DownloadError(f"{url} answered with something that is not JSON.", hint=_proxy_hint(url)) from error


def download(
    client: httpx.Client, url: str, part: Path, *, size: int | None, job: Job, report: Callable[[int], None]
) -> None:
    """Complete `part` from `url`. What it holds already is kept if the server confirms it is of the same file.

    `report` is told the bytes in `part`. The caller checks the hash. Raises DownloadError, DiskFullError, or
    IntegrityError when more than `size` bytes come.
    """
    failures = 0
    while True:
        before = _length(part)
        try:
            _attempt(client, url, part, size, job, report)
            return
        except _RetryableError as error:
            failures = 1 if _length(part) > before else failures + 1
            if failures >= _ATTEMPTS:
                raise error.final from error
            job.wait(_FIRST_PAUSE_S * 2 ** (failures - 1))


def forget(part: Path) -> None:
    """Delete a partial file and what is known about it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


class _RetryableError(Exception):
    """Trouble that may pass; `final` is what to raise when it does not."""

    def __init__(self, final: DownloadError) -> None:
        super().__init__(str(final))
        self.final = final


def _attempt(
    client: httpx.Client, url: str, part: Path, size: int | None, job: Job, report: Callable[[int], None]
) -> None:
    have = _length(part)
    if size is not None and have > size:
        forget(part)
        have = 0
    if size is not None and have == size:
        report(have)
        return
    try:
        with client.stream("GET", url, headers=_range_headers(part, have)) as response:
            if response.status_code == _RANGE_REFUSED:
                forget(part)
                raise _RetryableError(DownloadError(f"{url} refused to go on at byte {have}."))
            if not response.is_success:
                failure = _refusal(response)
                raise (_RetryableError(failure) if response.status_code in _RETRIED else failure)
            continued = response.status_code == _PARTIAL and _starts_at(response, have)
            if response.status_code == _PARTIAL and not continued:
                forget(part)
                raise _RetryableError(DownloadError(f"{url} answered with another range than was asked for."))
            _remember(part, response)
            _receive(response, part, size, have if continued else 0, job, report)
    except httpx.ConnectError as error:
        failure = _unreachable(url, str(error))
        # Before the first byte nothing suggests that trying again helps; another source may.
        raise (_RetryableError(failure) if have else failure) from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise _RetryableError(_interrupted(url, reason)) from error
    except httpx.HTTPError as error:  # too many redirects
        raise DownloadError(f"Cannot fetch {url}: {error}.") from error
    if size is not None and _length(part) < size:
        raise _RetryableError(_interrupted(url, "the connection ended early"))


def _receive(
    response: httpx.Response, part: Path, size: int | None, start: int, job: Job, report: Callable[[int], None]
) -> None:
    done = start
    # Of no fixed size: what has been collected of an incomplete block would be lost with a broken connection.
    blocks = response.iter_raw()
    with disk_errors(part.parent), part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        report(done)
        while block := next(blocks, b""):
            job.check()
            stream.write(block)
            stream.flush()  # a killed pull keeps what has arrived
            done += len(block)
            report(done)
            if size is not None and done > size:
                break
    if size is not None and done > size:
        forget(part)
        raise IntegrityError(
            f"{response.request.url.host} sent more than the {size:,} bytes of {part.name.removesuffix('.part')}.",
            hint="The source serves another file; choose another one with model.sources.",
        )


def _range_headers(part: Path, have: int) -> dict[str, str]:
    if not have:
        return {}
    headers = {"Range": f"bytes={have}-"}
    try:
        etag = json.loads(_notes(part).read_text(encoding="utf-8"))["etag"]
    except (OSError, ValueError, KeyError, TypeError):
        etag = ""  # the hash check will tell whether the pieces belong together
    return headers | ({"If-Range": etag} if etag else {})


def _remember(part: Path, response: httpx.Response) -> None:
    etag = response.headers.get("ETag", "")
    with disk_errors(part.parent):
        # A weak tag does not promise equal bytes, so it must not be used to resume.
        _notes(part).write_text(json.dumps({"etag": "" if etag.startswith("W/") else etag}), encoding="utf-8")


def _starts_at(response: httpx.Response, have: int) -> bool:
    return bool(response.headers.get("Content-Range", "").startswith(f"bytes {have}-"))


def _refusal(response: httpx.Response) -> DownloadError:
    url, status = response.request.url, response.status_code
    if status in _DENIED:
        return DownloadError(
            f"{url.host} refuses access ({status}) to {url.path}.",
            hint="Accept the model's terms on its page, then set HF_TOKEN or model.hub_token to your token.",
        )
    return DownloadError(f"{url.host} answered {status} {response.reason_phrase} for {url.path}.")


def _unreachable(url: str, reason: str) -> DownloadError:
    return DownloadError(f"Cannot reach {urlsplit(url).hostname}: {reason or 'no answer'}.", hint=_proxy_hint(url))


def _interrupted(url: str, reason: str) -> DownloadError:
    return DownloadError(
        f"The download from {urlsplit(url).hostname} broke off: {reason}.",
        hint="Repeat the command; what has arrived is kept.",
    )


def _proxy_hint(url: str) -> str:
    scheme = urlsplit(url).scheme.upper()
    proxy = os.environ.get(f"{scheme}_PROXY") or os.environ.get(f"{scheme.lower()}_proxy")
    # Without its user and password, which belong in no message.
    return f"The proxy in use is {proxy.rpartition('@')[2]}." if proxy else f"Behind a proxy, set {scheme}_PROXY."


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
