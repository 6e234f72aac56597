"""How an engine ends: once and to the end, whoever asks for it and whatever strikes meanwhile."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable

__all__ = ["END_S", "Ending"]

END_S = 10.0  # how long somebody waits for an end; it goes on behind them

_log = logging.getLogger("interleave_rt")
_open: set[Ending] = set()  # of this process


class Ending:
    """What is to be done at the end, on a thread of its own.

    Handlers of signals, which may raise, run on the main thread alone, and the collector may come on a thread that is
    to be joined: neither can break off what is done here. It belongs to the process that made it; a fork has none of
    its threads.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._parts: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._error: Exception | None = None
        _open.add(self)

    def add(self, part: Callable[[], None]) -> None:
        """Something to be done, before all that was added earlier; it may be called again after an interruption."""
        self._parts.append(part)

    def begin(self) -> None:
        """Starts it, and returns at once; may be called at any time, from any thread."""
        if os.getpid() != self._owner or self._over.is_set():
            return
        try:
            threading.Thread(target=self._run, name="interleave-rt-end", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._run()

    def finish(self, seconds: float = END_S) -> None:
        """Starts it and waits, `seconds` at most; the first caller gets the first error."""
        self.begin()
        if os.getpid() == self._owner and not self._over.wait(seconds):
            _log.warning("an engine has not ended within %g s; its threads are left behind", seconds)
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        with self._lock:
            while self._parts:
                try:
                    self._parts[-1]()
                except Exception as error:  # noqa: BLE001 - the other parts must be done all the same
                    self._error = self._error or error
                self._parts.pop()
        _open.discard(self)
        self._over.set()


def _end_all() -> None:
    """At the end of the process: no thread may be in the core when the interpreter goes."""
    until = time.monotonic() + END_S
    for ending in list(_open):
        while ending in _open and time.monotonic() < until:
            try:
                ending.finish(max(0.0, until - time.monotonic()))
            except BaseException:  # noqa: BLE001 - Ctrl-C, or what a part has raised: nobody is left to hear of it
                _log.debug("while an engine was ended", exc_info=True)


atexit.register(_end_all)
os.register_at_fork(after_in_child=_open.clear)
