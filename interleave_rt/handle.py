"""A request under way: iterate over its events, wait for its result, or cancel it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from interleave_rt import _core

from .errors import from_code
from .reader import EventReader
from .result import Event, FinishedEvent, Result

__all__ = ["Handle", "core_errors"]

# Blocking waits are cut into slices, so that signals (Ctrl-C) are seen.
SLICE_MS = 50


@contextmanager
def core_errors() -> Iterator[None]:
    """Errors of the core as those of this package."""
    try:
        yield
    except _core.CoreError as error:
        raise from_code(*error.args) from None


class Handle:
    """Made by `Engine.submit`. May be used by several threads; each iteration starts from the first event.

    A handle that is dropped before its end cancels its request.
    """

    def __init__(
        self,
        owner: object,
        core: _core.Engine,
        request: int,
        reader: EventReader,
        abandon: Callable[[], None],
    ) -> None:
        self.id = request
        self._owner = owner  # an engine must not be collected while its requests run
        self._core, self._reader = core, reader
        self._raw: list[dict[str, Any]] = []  # as the core said it
        self._events: list[Event] = []  # the same, read
        self._lock = threading.Lock()
        self._abandon = weakref.finalize(self, abandon)
        self._abandon.atexit = False

    @property
    def done(self) -> bool:
        """Whether the last event has been taken."""
        return bool(self._events) and isinstance(self._events[-1], FinishedEvent)

    def cancel(self) -> None:
        """Asks the request to end; it ends as cancelled with what it has committed. Returns at once."""
        if not self.done:
            with core_errors():
                self._core.cancel(self.id)

    def close(self) -> None:
        """Cancels a request that has not ended, without waiting for it."""
        if not self.done:
            self._abandon()

    def __iter__(self) -> Iterator[Event]:
        index = 0
        while True:
            event = self.event(index)
            assert event is not None  # no timeout was given
            yield event
            if isinstance(event, FinishedEvent):
                return
            index += 1

    def event(self, index: int, timeout: float | None = None) -> Event | None:
        """Waits for event number `index`; None when `timeout` seconds have passed.

        Raises:
            IndexError: The request ended with fewer events.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if index < len(self._events):
                return self._events[index]
            with core_errors():
                self._core.now_us()  # refuses a process that was forked, where the lock may be held for ever
            with self._lock:
                if index < len(self._events):
                    return self._events[index]
                if self.done:
                    raise IndexError(f"request {self.id} ended after {len(self._events)} events")
                left_ms = SLICE_MS if until is None else int((until - time.monotonic()) * 1000)
                self._take(max(0, min(SLICE_MS, left_ms)))
                if index < len(self._events):
                    return self._events[index]
            if until is not None and time.monotonic() >= until:
                return None

    def finished(self, timeout: float | None = None) -> FinishedEvent:
        """Waits for the end, whatever it is; raises `TimeoutError` after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.done:
            left = None if until is None else max(0.0, until - time.monotonic())
            if self.event(len(self._events), left) is None:
                raise TimeoutError(f"request {self.id} has not ended within {timeout} s")
        last = self._events[-1]
        assert isinstance(last, FinishedEvent)
        return last

    def result(self, timeout: float | None = None) -> Result:
        """Waits for the result.

        Raises:
            InterleaveError: The request did not finish; `.partial` holds what was committed.
            TimeoutError: It has not ended within `timeout` seconds; it goes on.
        """
        end = self.finished(timeout)
        if end.error is not None:
            raise end.error
        return end.result

    def _take(self, timeout_ms: int) -> None:
        if len(self._events) == len(self._raw):  # else Ctrl-C has struck while one was read
            with core_errors():
                # Ctrl-C strikes right after a call has returned: an event that it cut off would be lost for ever.
                # Here the call and the append are one step of the interpreter; all that follows may be repeated.
                self._raw.extend(filter(None, map(self._core.next_event, (self.id,), (timeout_ms,))))
        while len(self._events) < len(self._raw):
            self._events.append(self._reader.read(self.id, self._raw[len(self._events)]))
        if self.done and self._abandon.detach():
            self._core.forget(self.id)
