"""One pass at a time on one model: the libraries' models keep state of the call that is under way."""

from __future__ import annotations

import threading
from collections import deque
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
    """A lock that is given in the order of asking; and on a card a stream, so that models that share it run side by side.

    `priority` of the stream: below 0 comes first where kernels of several streams wait for room.
    """

    def __init__(self, torch: Any, device: str, priority: int = 0) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False
        self._torch = torch
        on_card = torch.device(device).type == "cuda"
        self._stream = torch.cuda.Stream(device, priority=priority) if on_card else None

    @contextmanager
    def take(self, cancelled: Cancelled) -> Iterator[None]:
        """Waits for its turn. A call that is given up raises `CancelledError`, while it waits too."""
        self._enter(cancelled)
        try:
            if cancelled():
                raise CancelledError("[torch] the call was given up")
            yield
        finally:
            self._leave()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """What a thread does for the model's calls, from the first tensor on its device to the last, belongs in here."""
        if self._stream is None:
            yield
        else:
            with self._torch.cuda.stream(self._stream):
                yield

    def _enter(self, cancelled: Cancelled) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            turn = threading.Event()
            self._waiting.append(turn)
        while not turn.wait(_POLL_S):
            if not cancelled():
                continue
            with self._lock:
                if not turn.is_set():
                    self._waiting.remove(turn)
                    raise CancelledError("[torch] the call was given up")
            break  # it has just got its turn: `take` gives it back

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
