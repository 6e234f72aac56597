"""Standard output and standard error of the process: their reader may go away, and may not know every character."""

from __future__ import annotations

import errno
import os
import sys
from typing import IO, Any, TextIO

__all__ = ["is_unicode", "steady", "unwritten"]


class _Steady:
    """A stream that takes text to its end: once it cannot be written, what follows goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._lost(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> int:
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # also for what lies in buffers
        os.close(nowhere)
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def steady() -> None:
    """From now on a command goes on, and saves what it makes, whatever becomes of its output."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        setattr(sys, name, _Steady(stream))


def unwritten() -> int:
    """The exit code where standard output could not be written, else 0; a reader that has seen enough is no fault."""
    out = sys.stdout
    out.flush()
    failure = getattr(out, "failure", None)
    if failure is None or failure.errno == errno.EPIPE:
        return 0
    print(f"error: standard output cannot be written: {failure.strerror}", file=sys.stderr)
    return 1


def is_unicode(stream: IO[str]) -> bool:
    """Whether a stream can show every character."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")
