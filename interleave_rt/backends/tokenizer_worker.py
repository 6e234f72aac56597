"""The thread that encodes texts for the native lanes: templates and tokenizers live in Python."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from typing import ClassVar

from interleave_rt import _core

from . import Backend

__all__ = ["SwitchInterval", "TokenizerWorker"]

_log = logging.getLogger("interleave_rt")
_POLL_MS = 50
_MOST_JOBS = 8
_JOIN_S = 2.0
_LOOK_S = 0.5
_STUCK_S = 3.0
_MOST_STUCK = 4


class SwitchInterval:
    """How soon a thread that waits for the GIL gets it: shortened while an engine lives.

    A Python thread that computes gives the GIL away after `sys.getswitchinterval()`, 5 ms unless somebody
    changed it, and the worker needs the GIL two to three times for a text that a lane waits for. The setting
    is the process's: it is only ever shortened, and put back with the last engine, unless it was changed by
    somebody else meanwhile.
    """

    _lock = threading.Lock()
    _held: ClassVar[list[float]] = []
    _before = 0.0
    _ours = 0.0

    @classmethod
    def hold(cls, seconds: float) -> None:
        """One more engine wants at most this; to be followed by one `release` of the same value."""
        with cls._lock:
            if not cls._held:
                cls._before = cls._ours = sys.getswitchinterval()
            cls._held.append(seconds)
            cls._apply()

    @classmethod
    def release(cls, seconds: float) -> None:
        """That engine has gone."""
        with cls._lock:
            cls._held.remove(seconds)
            cls._apply()

    @classmethod
    def _apply(cls) -> None:
        if sys.getswitchinterval() != cls._ours:
            return  # somebody else has decided
        # Python cuts to whole microseconds: without the half, putting a value back would lose one.
        sys.setswitchinterval(min([cls._before, *cls._held]) + 5e-7)
        cls._ours = sys.getswitchinterval()


class TokenizerWorker:
    """Owns the thread, from `start` to `stop`.

    A thread that is stuck in one text (a chat template that does not end) is left to it after 3 s, and another one
    goes on with the rest, at most four times; the stuck text fails with its request's deadline or the core's lease.

    Args:
        core: Whose texts it encodes.
        backend: Encodes the texts.
        switch_interval_ms: See `SwitchInterval`; None leaves the process's setting alone.
    """

    def __init__(self, core: _core.Engine, backend: Backend, switch_interval_ms: float | None = None) -> None:
        self._core = core
        self._backend = backend
        self._interval = None if switch_interval_ms is None else switch_interval_ms / 1000
        self._holds = False
        self._stop = threading.Event()
        self._jobs: deque[_core.TextJob] = deque()
        self._busy_since: float | None = None
        self._thread = self._new_thread()
        self._watch = threading.Thread(target=self._replace_stuck, name="interleave-rt-watch", daemon=True)

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="interleave-rt-text", daemon=True)

    def start(self) -> None:
        """Once."""
        if self._interval is not None:
            SwitchInterval.hold(self._interval)
            self._holds = True
        self._thread.start()
        self._watch.start()

    def stop(self) -> None:
        """Ends the thread and waits a moment for it; one that hangs in a template is left behind. May be repeated."""
        self._stop.set()
        for thread in (self._watch, self._thread):
            if thread.ident is not None:
                thread.join(_JOIN_S)
        if self._interval is not None and self._holds:
            self._holds = False
            SwitchInterval.release(self._interval)

    def _run(self) -> None:
        me = threading.current_thread()
        while not self._stop.is_set():
            if not self._jobs:
                jobs = self._core.poll_text(_POLL_MS, _MOST_JOBS)
                if jobs is None:  # the engine is closed
                    return
                self._jobs.extend(jobs)
            while self._jobs:
                try:
                    job = self._jobs.popleft()
                except IndexError:  # the thread in whose place this one is had it
                    break
                self._busy_since = time.monotonic()
                self._encode(job)
                if self._thread is not me:  # it took so long that another one is at work
                    return
            self._busy_since = None

    def _replace_stuck(self) -> None:
        stuck = 0
        while stuck < _MOST_STUCK and not self._stop.wait(_LOOK_S):
            since = self._busy_since
            if since is None or time.monotonic() - since < _STUCK_S:
                continue
            stuck += 1
            _log.warning(
                "a text has been encoded for %.0f s: the chat template or the tokenizer hangs", _STUCK_S
            )
            self._busy_since = None
            self._thread = self._new_thread()
            self._thread.start()

    def _encode(self, job: _core.TextJob) -> None:
        try:
            self._backend.encode(self._core, job)
        except BaseException as error:  # noqa: BLE001 - the thread must go on: every request waits for it
            _log.debug("a text job failed", exc_info=True)
            said = f"[TokenizerWorker] {type(error).__name__}: {error}"
            self._core.fail_text(job.id, "backend_failed", said.encode("utf-8", "replace").decode())
