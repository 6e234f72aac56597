"""The engine's one Python thread: encodes texts for the lanes and ends requests that nobody reads any more."""

from __future__ import annotations

import logging
import queue
import threading

from interleave_rt import _core

from . import Backend

__all__ = ["Worker"]

_log = logging.getLogger("interleave_rt")
_POLL_MS = 50
_MOST_JOBS = 8


class Worker:
    """Owns the thread; `stop` joins it."""

    def __init__(self, core: _core.Engine, backend: Backend) -> None:
        self._core = core
        self._backend = backend
        self._abandoned: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="interleave-rt-text", daemon=True)
        self._thread.start()

    def abandon(self, request: int) -> None:
        """Cancels a request and takes its remaining events; may be called from a finalizer."""
        self._abandoned.put(request)

    def stop(self) -> None:
        """Ends and joins the thread."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        unread: set[int] = set()
        while not self._stop.is_set():
            try:
                for job in self._core.poll_text(10 if unread else _POLL_MS, _MOST_JOBS):
                    self._backend.encode(self._core, job)
                self._reap(unread)
            except _core.CoreError as error:
                if self._stop.is_set():
                    return
                _log.warning("[Worker] %s", error.args[-1])
            except Exception:
                # The thread must go on: without it every request would wait for ever.
                _log.exception("[Worker] a job failed")

    def _reap(self, unread: set[int]) -> None:
        while True:
            try:
                request = self._abandoned.get_nowait()
            except queue.Empty:
                break
            self._core.cancel(request)
            unread.add(request)
        for request in list(unread):
            while (event := self._core.next_event(request, 0)) is not None:
                if event[0] == "ended":
                    self._core.forget(request)
                    unread.discard(request)
                    break
