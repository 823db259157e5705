"""Download many small files at once: repeat after transient failures, else give up at once.

Worker threads are daemons and are never joined: name resolution, a TLS handshake or a server that
sends a byte per second cannot be interrupted, so the main thread enforces the deadline and abandons
them. They hold nothing but a socket.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import math
import os
import queue
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from seccompgen.core.errors import InputError, OutsideError
from seccompgen.kernel.fetch.local import MAX_FILE
from seccompgen.kernel.fetch.shown import shown_url, without_credentials
from seccompgen.kernel.fetch.trust import Trust, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import Response, Session

THREADS = 8
TIMEOUT = 10.0
"""Seconds without a byte, or without a connection, after which a request has failed."""
DEADLINE = 30.0
"""Seconds for one file in total, including repetitions."""
BACKOFF = (0.2, 0.4, 0.8)
"""Seconds to wait before each repetition after a transient failure."""
MAX_REDIRECTS = 5

_CHUNK = 1 << 14
_ADVICE = "try again later, or name another source with --from"


class _FailedError(Exception):
    """A permanent failure of a request; the message is the cause, ``advice`` the remedy."""

    advice = _ADVICE


class _TransientError(_FailedError):
    """A failure of a request that may be transient."""


class _UntrustedError(_FailedError):
    """A failure of the server to authenticate itself."""

    advice = "or name another source with --from"


@dataclass(frozen=True, slots=True)
class _Limits:
    timeout: float
    deadline: float


def is_loopback(host: str) -> bool:
    """Return True if ``host`` is certainly this machine: localhost or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def download(
    urls: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
    shown: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return the content of each URL, by the same key, without those that answer 404.

    ``shown`` has the text for each URL in messages, by default from `shown_url`. The environment
    variable SECCOMPGEN_TIMEOUT, in seconds, replaces both time limits. Raises OutsideError, which
    names the URL, for the first permanent failure; the other downloads are abandoned.
    """
    limits = _limits()
    trusted = trust()
    shown = shown or {key: shown_url(url) for key, url in urls.items()}
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    for key in urls:
        jobs.put(key)
    answers: queue.SimpleQueue[tuple[str, bytes | Exception | None]] = queue.SimpleQueue()
    started: dict[str, float] = {}
    stop = threading.Event()

    def work(session: Session) -> None:
        with contextlib.suppress(queue.Empty), session:
            while not stop.is_set():
                key = jobs.get_nowait()
                started[key] = time.monotonic()
                try:
                    answers.put((key, _patiently(session, urls[key], limits, trusted, stop)))
                except Exception as error:
                    answers.put((key, error))

    try:
        for _ in range(min(THREADS, len(urls))):
            threading.Thread(target=work, args=(_session(trusted),), daemon=True).start()
        return _collect(shown, answers, started, limits, progress)
    finally:
        stop.set()


def _limits() -> _Limits:
    text = os.environ.get("SECCOMPGEN_TIMEOUT", "")
    if not text:
        return _Limits(TIMEOUT, DEADLINE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 86400:
        raise InputError(f"SECCOMPGEN_TIMEOUT={text!r} is not a number of seconds")
    return _Limits(seconds, seconds)


def _collect(
    shown: Mapping[str, str],
    answers: queue.SimpleQueue[tuple[str, bytes | Exception | None]],
    started: dict[str, float],
    limits: _Limits,
    progress: Callable[[int, int], None] | None,
) -> dict[str, bytes]:
    """Collect one answer per URL; raise OutsideError if one takes longer than the deadline."""
    found: dict[str, bytes] = {}
    open_keys = set(shown)
    while open_keys:
        try:
            key, answer = answers.get(timeout=0.05)
        except queue.Empty:
            now = time.monotonic()
            for key in open_keys & set(started.copy()):
                if now - started[key] > limits.deadline:
                    message = f"no answer within {limits.deadline:g} s"
                    raise OutsideError(f"{shown[key]}: {message}; {_ADVICE}") from None
            continue
        open_keys.remove(key)
        if isinstance(answer, _FailedError):
            raise OutsideError(f"{shown[key]}: {answer}; {answer.advice}")
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            found[key] = answer
        if progress:
            progress(len(shown) - len(open_keys), len(shown))
    return found


def _session(trusted: Trust) -> Session:
    import requests  # noqa: PLC0415 - 60 ms that only a download should cost

    session = requests.Session()
    session.mount("https://", trusted.adapter())
    session.headers.update({"User-Agent": "seccompgen", "Accept-Encoding": "identity"})
    return session


def _patiently(
    session: Session, url: str, limits: _Limits, trusted: Trust, stop: threading.Event
) -> bytes | None:
    """Get ``url``; repeat after transient failures, until the deadline."""
    end = time.monotonic() + limits.deadline
    for pause in (*BACKOFF, None):
        try:
            return _get(session, url, limits, trusted, stop)
        except _TransientError:
            if pause is None or stop.is_set() or time.monotonic() + pause >= end:
                raise
            stop.wait(pause)
    raise AssertionError("the last pause is None")


def _get(
    session: Session, url: str, limits: _Limits, trusted: Trust, stop: threading.Event
) -> bytes | None:
    """Get ``url`` once; return None for a 404."""
    import requests  # noqa: PLC0415 - as above
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - what raw reads raise

    try:
        with contextlib.closing(_follow(session, url, limits.timeout)) as response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                kind = _TransientError if _may_pass(response.status_code) else _FailedError
                reason = f" ({response.reason})" if response.reason else ""
                raise kind(f"the server answers {response.status_code}{reason}")
            return _body(response, stop)
    except requests.exceptions.SSLError as error:
        unaccepted = [
            one for one in _causes(error) if isinstance(one, ssl.SSLCertVerificationError)
        ]
        reason = trusted.explain(unaccepted[0]) if unaccepted else _reason(error)
        raise _UntrustedError(f"no trusted connection: {reason}") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _TransientError(_reason(error)) from None
    except requests.Timeout:
        raise _TransientError(f"no answer within {limits.timeout:g} s") from None
    except requests.RequestException as error:
        raise _FailedError(_reason(error)) from None
    except ValueError as error:  # urllib's error for a redirect, inside requests or in _follow
        reason = without_credentials(str(error))
        raise _FailedError(f"it redirects to what is no URL ({reason})") from None
    except (HTTPError, OSError) as error:
        raise _TransientError(_reason(error)) from None


def _may_pass(status: int) -> bool:
    return status == 429 or status >= 500


def _follow(session: Session, url: str, timeout: float) -> Response:
    """Send the request and follow redirects, never from https to anything else."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        session.trust_env = not is_loopback(parts.hostname or "")  # no proxy for this machine
        response = session.get(url, timeout=timeout, stream=True, allow_redirects=False)
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["location"])
        target = urlsplit(url)
        local = target.scheme == "http" and is_loopback(target.hostname or "") and not secure
        if target.scheme != "https" and not local:
            raise _FailedError(f"it redirects to {shown_url(url)}, which is not https")
    raise _FailedError(f"it redirects more than {MAX_REDIRECTS} times")


def _body(response: Response, stop: threading.Event) -> bytes:
    """Read a body; raise _FailedError unless it looks like a complete source file."""
    length = response.headers.get("Content-Length", "")
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > MAX_FILE:
            raise _FailedError(f"more than {MAX_FILE >> 20} MiB, which no source file has")
        if stop.is_set():
            raise _FailedError("given up")
    plain = not response.headers.get("Content-Encoding")
    if plain and length.isdecimal() and len(body) != int(length):
        raise _TransientError(f"the answer ends after {len(body)} of {length} bytes")
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    start = bytes(body[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if kind == "text/html" or start.startswith((b"<!doctype", b"<html")):
        raise _FailedError("the server answers with a web page instead of the file")
    return bytes(body)


def _reason(error: BaseException) -> str:
    """Return the root cause of an exception of requests in a few words."""
    from urllib3.exceptions import ReadTimeoutError  # noqa: PLC0415 - as above

    seen = _causes(error)
    if any(isinstance(item, (ReadTimeoutError, TimeoutError)) for item in seen):
        return "the server falls silent"
    if any(isinstance(item, http.client.IncompleteRead) for item in seen):
        return "the answer breaks off"
    texts = [item.strerror for item in seen if isinstance(item, OSError) and item.strerror]
    text = texts[-1] if texts else str(seen[-1]) or type(seen[-1]).__name__
    return without_credentials(text)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception of requests and the chain of its causes, the root cause last."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        inner = (getattr(current, "reason", None), *current.args)
        causes = [item for item in inner if isinstance(item, BaseException)]
        current = causes[0] if causes else current.__cause__ or current.__context__
    return seen
