"""Signals that end a command: Ctrl-C, SIGTERM (containers, schedulers) and SIGHUP (the terminal has gone)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupted", "Signals", "signals"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 1.0


class Interrupted(BaseException):
    """Raised in the main thread by a signal; the exit code is 128 and its number.

    Not a `KeyboardInterrupt`, which libraries turn into ends of their own.
    """

    @property
    def exit_code(self) -> int:
        """As a shell says it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + int(self.args[0])


class Signals:
    """What has struck so far, and what a stroke does.

    It raises `Interrupted` wherever the main thread is, unless somebody asks for it by himself (`watched`). Once the
    end has begun (`ending`) there is nothing left to save, and one more ends the process on the spot.
    """

    def __init__(self) -> None:
        self.struck: list[int] = []
        self.saved = ""  # what the command has made that stays, for people
        self._watched = self._ending = False

    def strike(self, number: int, _frame: object = None) -> None:
        """The handler."""
        if number != signal.SIGALRM:
            self.struck.append(number)
            if self._ending:
                os._exit(128 + number)
        if not (self._watched or self._ending):
            # Raised inside a finalizer it would be lost: it comes again until somebody has caught it.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            raise Interrupted(self.struck[0])

    @property
    def exit_code(self) -> int:
        """Of a command that was ended; 0 where nothing has struck."""
        return 128 + self.struck[0] if self.struck else 0

    def caught(self) -> None:
        """Somebody ends what was interrupted."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def install(self) -> dict[signal.Signals, Any]:
        """Signals come here from now on, but for those that the process was told to ignore; returns who had them."""
        if threading.current_thread() is not threading.main_thread():
            return {}  # a program that calls `main` there has handlers of its own
        usual = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGALRM)}
        before = {number: one for number, one in usual.items() if one != signal.SIG_IGN}
        for number in before:
            signal.signal(number, self.strike)
        return before

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Signals come here while the block runs."""
        self.struck.clear()
        self.saved = ""
        self._watched = self._ending = False
        before = self.install()
        try:
            yield
        finally:
            for number, usual in before.items():
                signal.signal(number, usual)

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Nothing is raised while the block runs: it looks at the list of what has struck."""
        self._watched = True
        self.caught()
        try:
            yield self.struck
        finally:
            self._watched = False

    def end(self) -> None:
        """The command is over but for its clearing up."""
        self.caught()
        self._ending = True


signals = Signals()
