"""How long the parts of an update are at work, beside each other or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Adds up the seconds in which each part is at work; where several threads are at one part, they count once.

    Safe for threads.

    Args:
        now: The time, in seconds.

    Example:
        >>> clock = Clock()
        >>> with clock.part("generate"):
        ...     pass
        >>> list(clock.take())
        ['generate']
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._mutex = threading.Lock()
        self._at_work: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._spent: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part is at work meanwhile."""
        with self._mutex:
            if not self._at_work.get(name):
                self._since[name] = self._now()
            self._at_work[name] = self._at_work.get(name, 0) + 1
        try:
            yield
        finally:
            with self._mutex:
                self._at_work[name] -= 1
                if not self._at_work[name]:
                    self._add(name, self._now())

    def take(self) -> dict[str, float]:
        """The seconds of each part since this was called last; a part that is at work now counts up to now."""
        with self._mutex:
            now = self._now()
            for name, at_work in self._at_work.items():
                if at_work:
                    self._add(name, now)
            spent, self._spent = self._spent, {}
        return spent

    def _add(self, name: str, now: float) -> None:
        self._spent[name] = self._spent.get(name, 0.0) + now - self._since[name]
        self._since[name] = now
