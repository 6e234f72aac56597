"""How asyncio hears of a request: one thread an engine waits for all of them, and wakes the loops."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from interleave_rt import _core

from .errors import ClosedError

__all__ = ["News", "Pump"]

T = TypeVar("T")
_WAIT_MS = 500
_JOIN_S = 2.0
_ENCODERS = 2  # threads that read the pictures of requests; further ones wait for their turn
_ENCODER_NAME = "interleave-rt-input"


class News:
    """What a coroutine waits on: set whenever its request has something new."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fresh = asyncio.Event()

    def tell(self) -> bool:
        """From any thread; False where the loop was closed."""
        try:
            self._loop.call_soon_threadsafe(self._fresh.set)
        except RuntimeError:
            return False
        return True

    async def wait(self) -> None:
        """Until there is something new since the last time."""
        await self._fresh.wait()
        self._fresh.clear()


class Pump:
    """Its threads start with the first coroutine; `stop` ends them."""

    def __init__(self, core: _core.Engine) -> None:
        self._core = core
        self._lock = threading.Lock()
        # A coroutine that has gone needs no news: nothing else holds them.
        self._waiting: weakref.WeakValueDictionary[int, News] = weakref.WeakValueDictionary()
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )
        self._thread: threading.Thread | None = None
        self._encoders: ThreadPoolExecutor | None = None
        self._stopping = False

    def watch(self, request: int) -> News:
        """News of a request, for the running loop; it ends with the object."""
        news = News()
        with self._lock:
            self._waiting[request] = news
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="interleave-rt-pump", daemon=True)
                self._thread.start()
        self._core.watch(request)
        return news

    def turn(self) -> asyncio.Lock:
        """Held over a submission: a loop does one of them in a pass, so that hundreds do not hold up what else it has."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def off_the_loop(self, act: Callable[[], T]) -> T:
        """Runs something that takes long on a thread of the engine's own; raises `ClosedError` once it is closed."""

        def unless_closed() -> T:
            if self._stopping:
                raise ClosedError("[Engine] it was closed", hint="load another engine")
            return act()

        with self._lock:
            if self._stopping:
                unless_closed()
            if self._encoders is None:
                self._encoders = ThreadPoolExecutor(_ENCODERS, _ENCODER_NAME)
            coming = self._encoders.submit(unless_closed)
        return await asyncio.wrap_future(coming)

    def stop(self, close: Callable[[], None]) -> None:
        """Calls `close` of the core, passes on what that says to the last coroutines, and joins; may be repeated."""
        with self._lock:
            self._stopping = True
        close()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        with self._lock:
            waiting = list(self._waiting.values())
        for news in waiting:
            news.tell()
        if self._encoders is not None:
            self._encoders.shutdown()

    def _run(self) -> None:
        while True:
            fresh = self._core.next_news(_WAIT_MS)
            if not fresh and self._stopping:
                return
            for request in fresh:
                news = self._waiting.get(request)
                if news is not None and not news.tell():
                    self._core.forget(request)  # its loop was closed without a word
