"""The engine's one Python thread: encodes texts for the lanes, which never call Python."""

from __future__ import annotations

import logging
import threading

from interleave_rt import _core
from interleave_rt.images import png_round_trip

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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="interleave-rt-text", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends and joins the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for job in self._core.poll_text(_POLL_MS, _MOST_JOBS):
                self._encode(job)

    def _encode(self, job: _core.TextJob) -> None:
        try:
            if job.kind == "png":
                self._through_png(job)
            else:
                self._backend.encode(self._core, job)
        except Exception as error:  # noqa: BLE001 - the thread must go on: every request waits for it
            _log.debug("a text job failed", exc_info=True)
            self._core.fail_text(job.id, "backend_failed", f"[Worker] {type(error).__name__}: {error}")

    def _through_png(self, job: _core.TextJob) -> None:
        """S7 off: every image pays for the file that it would have been."""
        pixels = self._core.image(job.image)
        if pixels is None:
            self._core.fail_text(job.id, "internal", f"[Worker] image {job.image} is not in the store")
        else:
            self._core.finish_png(job.id, png_round_trip(pixels))
