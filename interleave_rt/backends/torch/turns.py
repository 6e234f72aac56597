"""One call at a time on one model: the libraries' models keep state of the call that is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from interleave_rt.errors import CancelledError

__all__ = ["Cancelled", "Turns", "never"]

Cancelled = Callable[[], bool]
_POLL_S = 0.02


def never() -> bool:
    """For calls that nobody gives up."""
    return False


class Turns:
    """A model's lock, and on a card a stream of its own: roles that share a card run side by side."""

    def __init__(self, torch: Any, device: str) -> None:
        self._lock = threading.Lock()
        self._torch = torch
        self._stream = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None

    @contextmanager
    def take(self, cancelled: Cancelled) -> Iterator[None]:
        """Waits for the model. A call that is given up raises `CancelledError`, while it waits too."""
        while not self._lock.acquire(timeout=_POLL_S):
            if cancelled():
                raise CancelledError("[torch] the call was given up")
        try:
            if cancelled():
                raise CancelledError("[torch] the call was given up")
            if self._stream is None:
                yield
            else:
                with self._torch.cuda.stream(self._stream):
                    yield
                    self._stream.synchronize()
        finally:
            self._lock.release()
