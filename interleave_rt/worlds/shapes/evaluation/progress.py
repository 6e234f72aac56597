"""Where an evaluation is, on standard error: a line that is written over, or a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Progress"]

_EVERY_S = 60.0  # between the lines of a log


class Progress:
    """Tells a stream of tasks and how far they are; a stream of None tells nothing."""

    def __init__(self, stream: TextIO | None = sys.stderr) -> None:
        self._stream = stream
        self._live = stream is not None and stream.isatty()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yields what is to be called with the number of cases done so far."""
        began = last = time.monotonic()
        done = 0

        def tell(count: int) -> None:
            nonlocal last, done
            done = count
            now = time.monotonic()
            if self._live or now - last > _EVERY_S:
                last = now
                self._say(f"{title}: {count} of {total}", over=self._live)

        yield tell
        self._say(f"{title}: {done} of {total}, {time.monotonic() - began:.0f} s", over=self._live)
        if self._live:
            self._say("", over=False)

    def _say(self, text: str, *, over: bool) -> None:
        if self._stream is not None:
            self._stream.write(f"\r{text}\x1b[K" if over else f"{text}\n")
            self._stream.flush()
