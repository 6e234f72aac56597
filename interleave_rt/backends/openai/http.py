"""One client of one server: bounded retries, time limits, a limit of calls at once, and calls that can be given up.

The transfers run in an event loop of the client's own; a calling thread reads what arrives from a queue. So it can look
every few milliseconds whether its call is still wanted, also while the server is silent, and to give a call up is to
close its connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from interleave_rt.errors import (
    BackendFailedError,
    BadPackError,
    BadRequestError,
    CancelledError,
    InterleaveError,
    LimitExceededError,
    OverloadedError,
)

if TYPE_CHECKING:
    from os import PathLike

    import httpx

__all__ = ["Answer", "Cancelled", "GarbledError", "HttpClient", "api_key", "api_url", "server_info"]

Cancelled = Callable[[], bool]
T = TypeVar("T")


class Adapt(Protocol):
    """See `HttpClient.call`."""

    def __call__(self, said: str, /, *, sure: bool = ...) -> bool: ...


POLL_S = 0.01  # how often a waiting call asks whether it is still wanted
MAX_ANSWER_BYTES = 64 << 20
LONGEST_WAIT_S = 60.0  # a server that asks for a longer pause is not asked again
_REPEATED = frozenset({408, 429, 500, 502, 503, 504})
_CONNECT_S = 10.0
_KEPT_S = 4.0  # shorter than servers keep an idle connection
_OPENAI = "api.openai.com"
_HERE = ("localhost", "127.0.0.1", "::1")


class NoSuchPlaceError(BadRequestError):
    """The server has no such route, or no such model."""


class GarbledError(Exception):
    """An answer that makes no sense, or stops too early: the call is made again."""


class _TryAgainError(Exception):
    """A try failed in a way that another one may not; `error` is what to tell where there is none."""

    def __init__(self, kind: str, error: InterleaveError, wait_s: float | None = None) -> None:
        super().__init__()
        self.kind, self.error, self.wait_s = kind, error, wait_s


class _RefusedError(Exception):
    """The server finds the call itself wrong."""

    def __init__(self, said: str, error: InterleaveError) -> None:
        super().__init__()
        self.said, self.error = said, error


def api_url(url: str) -> str:
    """The root of a server's API; a URL without a path gets `/v1`.

    Raises:
        BadRequestError: It is no http or https URL, or holds a password.

    Example:
        >>> api_url("http://127.0.0.1:8000")
        'http://127.0.0.1:8000/v1'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is no number raises here
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or any(not " " < letter < "\x7f" for letter in url):
        shown = "a URL with a password" if "@" in url else repr(url)
        raise BadRequestError(
            f"[openai] {shown} is no server's URL", hint="give one such as http://127.0.0.1:8000/v1"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadRequestError(
            f"[openai] the URL of {host} holds more than scheme, host, port and path",
            hint="keep passwords and parameters out of it; a key comes from key_env or key_file",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def api_key(url: str, key_env: str | None, key_file: str | PathLike[str] | None) -> str | None:
    """The key for a server: of a file, of an environment variable, or None.

    Only api.openai.com gets `OPENAI_API_KEY` without being told so: a key belongs to one server.

    Raises:
        BadRequestError: There is no such file or variable, or what it holds is no key.
    """
    if key_env is not None and key_file is not None:
        raise BadRequestError("[openai] both key_env and key_file are given", hint="give one of them")
    if key_file is not None:
        where = f"the file {os.fspath(key_file)}"
        try:
            with Path(key_file).open("rb") as file:
                key = file.read(8193).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it holds other bytes than a key"
            raise BadRequestError(
                f"[openai] no key can be read from {where}: {said}", hint="give a file with the key alone"
            ) from None
    else:
        name = key_env or ("OPENAI_API_KEY" if urlsplit(url).hostname == _OPENAI else None)
        if name is None:
            return None
        where = f"the environment variable {name}"
        key = os.environ.get(name, "").strip()
    if not key or len(key) > 8192 or any(not " " < letter < "\x7f" for letter in key):
        raise BadRequestError(
            f"[openai] there is no key in {where}", hint="put the key there, on one line, and nothing else"
        )
    return key


class Answer:
    """What a server sends back, as it arrives."""

    def __init__(self, status: int, headers: Mapping[str, str], chunks: Iterator[bytes]) -> None:
        self.status, self.headers, self._chunks = status, headers, chunks

    @property
    def is_stream(self) -> bool:
        """It is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._chunks)

    def json(self) -> Any:
        """The JSON value that it is."""
        try:
            return json.loads(self.body())
        except (ValueError, RecursionError):
            raise GarbledError("the answer is no JSON") from None

    def events(self) -> Iterator[Any]:
        """The JSON values of a stream's events; nothing tells whether the last one was the end of the answer."""
        rest = b""
        for chunk in self._chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                field, _, value = line.strip().partition(b":")
                if field != b"data":
                    continue
                if value.strip() == b"[DONE]":
                    return
                try:
                    yield json.loads(value)
                except (ValueError, RecursionError):
                    raise GarbledError("an event of the stream is no JSON") from None


class HttpClient:
    """Calls one server from any number of threads.

    Args:
        url: As from `api_url`.
        key: Sent as a bearer token; never shown.
        timeout_s: Of one try, from its beginning to the end of the answer; a try that takes longer is not repeated.
        retries: Further tries after connection errors, status 408, 429, 500 and 502 to 504, and answers that make no
            sense.
        max_concurrent: Calls at once; others wait.
        backoff_s: Pause before the first further try; it doubles, up to 8 s, and is drawn from its upper half. A server's
            Retry-After counts instead.

    Raises:
        BadPackError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 300.0,
        retries: int = 3,
        max_concurrent: int = 8,
        backoff_s: float = 0.5,
    ) -> None:
        if not (timeout_s > 0 and 0 <= retries <= 20 and 1 <= max_concurrent <= 1024 and backoff_s >= 0):
            raise BadRequestError(
                f"[openai] timeout_s {timeout_s}, retries {retries}, max_concurrent {max_concurrent} or backoff_s "
                f"{backoff_s} is out of range",
                hint="give seconds above 0, 0 to 20 retries and 1 to 1024 calls at once",
            )
        try:
            import httpx
        except ImportError:
            raise BadPackError(
                "[openai] httpx is not installed", hint="pip install 'interleave-rt[openai]'"
            ) from None
        self._httpx = httpx
        self.url, self._key = url, key
        self.timeout_s, self.retries, self._backoff_s = timeout_s, retries, backoff_s
        self._places = threading.BoundedSemaphore(max_concurrent)
        self.max_concurrent = max_concurrent
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], Any] | None = None
        self._process = 0
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"HttpClient({self.url!r})"

    def counters(self) -> dict[str, int]:
        """`calls`, `tries`, `cancelled`, `failed`, and retries by their reason (`retry_429`, `retry_connection`, ...)."""
        with self._lock:
            return dict(self._counts)

    def count(self, name: str) -> None:
        """Adds one to a counter."""
        with self._lock:
            self._counts[name] += 1

    def models(self) -> list[str]:
        """Names of the models that the server lists; none where it has no list.

        Raises:
            InterleaveError: As of `call`.
        """

        def read(answer: Answer) -> list[str]:
            raw = answer.json()
            listed = raw.get("data") if isinstance(raw, dict) else None
            return [str(one.get("id")) for one in listed or () if isinstance(one, dict)]

        try:
            return self.call("GET", "/models", read)
        except NoSuchPlaceError:
            return []

    def call(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        *,
        content: Callable[[], Mapping[str, Any]] = dict,
        adapt: Adapt = lambda _said, **_sure: False,
        cancelled: Cancelled | None = None,
    ) -> T:
        """What `read` makes of the answer; it is called once a try, and a `GarbledError` from it brings another.

        Args:
            method: `GET` or `POST`.
            path: Below the URL, with a slash in front.
            read: Called in this thread, as soon as the answer's head is there.
            content: Makes `json`, `data` and `files` of a try, as httpx takes them.
            adapt: Told the server's words where it finds the call wrong (400, 422, 501), or may do so (500: `sure=False`);
                true: `content` now makes another one, which is worth a try. Must say no in the end.
            cancelled: Asked every 10 ms; once it says yes, the connection is closed.

        Raises:
            CancelledError: The call was given up.
            BackendFailedError: The server failed, was silent for too long, or made no sense, and there is no try left.
            OverloadedError: It says that it is busy, and there is no try left.
            BadRequestError: It refuses the call, the key or the model.
        """
        asked = cancelled or (lambda: False)
        self.count("calls")
        try:
            with self._place(asked):
                return self._tries(method, path, read, content, adapt, asked)
        except CancelledError:
            self.count("cancelled")
            raise
        except InterleaveError:
            self.count("failed")
            raise

    def close(self) -> None:
        """Ends the client's thread and its connections; calls under way end with an error."""
        with self._lock:
            end, self._end, self._loop = self._end, None, None
        if end is not None:
            end()

    # ---- one try ------------------------------------------------------------------------------

    def _tries(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        content: Callable[[], Mapping[str, Any]],
        adapt: Adapt,
        cancelled: Cancelled,
    ) -> T:
        failed = 0
        while True:
            try:
                return self._try(method, path, read, content(), cancelled)
            except _RefusedError as refusal:
                if not adapt(refusal.said):
                    raise refusal.error from None
                self.count("adapted")
            except _TryAgainError as trouble:
                if trouble.kind == "500" and adapt(trouble.error.message, sure=False):
                    self.count("adapted")
                    continue
                wait_s = trouble.wait_s
                if wait_s is None:
                    wait_s = min(8.0, self._backoff_s * 2**failed) * random.uniform(0.5, 1)
                failed += 1
                if failed > self.retries or wait_s > LONGEST_WAIT_S:
                    raise trouble.error from None
                self.count(f"retry_{trouble.kind}")
                self._pause(wait_s, cancelled)

    def _try(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], T],
        content: Mapping[str, Any],
        cancelled: Cancelled,
    ) -> T:
        self.count("tries")
        until = time.monotonic() + self.timeout_s
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running = self._start(self._transfer(method, path, content, arrived))
        place = f"{self.url}{path}"

        def following() -> Any:
            while True:
                if cancelled():
                    raise CancelledError(f"[openai] the call of {place} was given up")
                if time.monotonic() > until:
                    raise BackendFailedError(
                        f"[openai] {place} did not answer within {self.timeout_s:g} s", hint="raise timeout_s"
                    )
                with suppress(queue.Empty):
                    return arrived.get(timeout=POLL_S)

        def chunks() -> Iterator[bytes]:
            taken = 0
            while (item := following()) is not None:
                if isinstance(item, BaseException):
                    raise GarbledError(f"the answer broke off: {self._said(item)}") from item
                taken += len(item)
                if taken > MAX_ANSWER_BYTES:
                    raise LimitExceededError(
                        f"[openai] {place} answers more than {MAX_ANSWER_BYTES >> 20} MiB"
                    )
                yield item

        try:
            head = following()
            if isinstance(head, BaseException):
                raise self._unreachable(place, head)
            status, headers = head
            answer = Answer(status, headers, chunks())
            if not 200 <= answer.status < 300:
                raise self._refusal(place, answer)
            return read(answer)
        except GarbledError as garbled:
            failed = BackendFailedError(
                f"[openai] {place} makes no sense: {self._said(garbled)}", hint="look into the server's log"
            )
            raise _TryAgainError("garbled", failed) from garbled
        finally:
            running.cancel()

    async def _transfer(
        self, method: str, path: str, content: Mapping[str, Any], arrived: queue.SimpleQueue[Any]
    ) -> None:
        """Puts (status, headers), the bytes as they come, and None at the end; or what went wrong."""
        try:
            assert self._client is not None
            request = self._client.build_request(method, self.url + path, **content)
            request.read()  # a form would leave in many small packets
            response = await self._client.send(request, stream=True)
            try:
                arrived.put((response.status_code, response.headers))
                async for chunk in response.aiter_bytes():
                    arrived.put(chunk)
            finally:
                await response.aclose()
            arrived.put(None)
        except asyncio.CancelledError:  # given up, which nobody waits for, or the client was closed
            arrived.put(ConnectionError("the client was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - the calling thread makes an error of the tree of it
            arrived.put(error)

    def _start(self, transfer: Any) -> Future[None]:
        with self._lock:
            if self._loop is None or self._process != os.getpid():  # a fork has no thread of the loop
                headers = {} if self._key is None else {"authorization": f"Bearer {self._key}"}
                self._client = self._httpx.AsyncClient(
                    headers=headers,
                    verify=self.url.startswith("https:"),  # reading the certificates takes a while
                    trust_env=urlsplit(self.url).hostname not in _HERE,  # no proxy knows this machine
                    timeout=self._httpx.Timeout(None, connect=_CONNECT_S),
                    limits=self._httpx.Limits(
                        max_keepalive_connections=self.max_concurrent, keepalive_expiry=_KEPT_S
                    ),
                )
                self._loop = loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(loop, self._client), name="irt-http", daemon=True).start()
                self._end = weakref.finalize(self, _stop, loop)
                self._process = os.getpid()
            return asyncio.run_coroutine_threadsafe(transfer, self._loop)

    @contextmanager
    def _place(self, cancelled: Cancelled) -> Iterator[None]:
        while not self._places.acquire(timeout=POLL_S):
            if cancelled():
                raise CancelledError(f"[openai] a call of {self.url} was given up before it began")
        try:
            yield
        finally:
            self._places.release()

    def _pause(self, seconds: float, cancelled: Cancelled) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if cancelled():
                raise CancelledError(f"[openai] a call of {self.url} was given up between two tries")
            time.sleep(min(POLL_S, left))

    # ---- what went wrong ----------------------------------------------------------------------

    def _said(self, error: object) -> str:
        """One line of a server's or a library's words, without the key."""
        text = str(error) or type(error).__name__
        if self._key:
            text = text.replace(self._key, "[key]")
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line if len(line) <= 300 else line[:300] + "..."

    def _unreachable(self, place: str, error: BaseException) -> Exception:
        said = self._said(error)
        if isinstance(error, self._httpx.TransportError):
            failed = BackendFailedError(
                f"[openai] {place} cannot be reached: {said}",
                hint="is the server running, and the URL right?",
            )
            return _TryAgainError("connection", failed)
        return BackendFailedError(f"[openai] {place} cannot be called: {said}")

    def _refusal(self, place: str, answer: Answer) -> Exception:
        status = answer.status
        try:
            said = self._said(_message_of(answer.body()))
        except GarbledError:
            said = "the answer broke off"
        words = f"[openai] {place} answers {status}: {said}"
        if status in _REPEATED:
            busy = status in (429, 503)
            kind, hint = (
                (OverloadedError, "try later") if busy else (BackendFailedError, "look into the server's log")
            )
            failed = kind(words, hint=hint)
            if answer.headers.get("x-should-retry") == "false":
                return failed
            return _TryAgainError(str(status), failed, _asked_pause(answer.headers))
        if status in (401, 403):
            return BadRequestError(words, hint="give the right key by key_env or key_file")
        if status in (404, 405):
            return NoSuchPlaceError(words, hint=f"is the model one of {self.url}/models, and the URL right?")
        if status == 413:
            return LimitExceededError(words, hint="send smaller pictures")
        if status in (400, 422, 501):
            return _RefusedError(said, BadRequestError(words))
        if 300 <= status < 400:
            where = self._said(answer.headers.get("location", "elsewhere")).split("?")[0]
            return BadRequestError(f"{words} (to {where})", hint="give the URL that it leads to")
        return (BackendFailedError if status >= 500 else BadRequestError)(words)


class OnServer:
    """Mixin: what a role has by its client."""

    http: HttpClient

    def counters(self) -> dict[str, int]:
        """Of the client; see `HttpClient.counters`."""
        return self.http.counters()

    def close(self) -> None:
        """Ends the connections."""
        self.http.close()


def server_info(http: HttpClient, model: str, asked: Any) -> dict[str, str]:
    """What is told of a role on a server; `asked` is what its answers depend on beside the calls."""
    form = hashlib.blake2b(repr(asked).encode(), digest_size=8).hexdigest()
    return {
        "runtime": "openai",
        "url": http.url,
        "model": model,
        "identity": f"{http.url}#{model}/{form}",
        "lossless": "replay",
        "device": f"{http.url}#{model}",  # two models of one server rarely share a card
        "capacity": str(http.max_concurrent),
    }


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(client.aclose())
        loop.close()


def _message_of(body: bytes) -> str:
    """The words of an error body, whichever shape it has."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    while isinstance(raw, dict):
        named = [raw[name] for name in ("error", "message", "detail") if raw.get(name)]
        if not named:
            break
        raw = named[0]
    return raw if isinstance(raw, str) else json.dumps(raw)


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: of `retry-after-ms`, or of `retry-after` (seconds or a date)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        with suppress(ValueError, TypeError):
            then = parsedate_to_datetime(value)
            return max(0.0, (then - datetime.now(timezone.utc)).total_seconds())
    return None
