"""Requests on a real engine, written down call by call on one clock: what a calibration is made of."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, InterleaveError
from interleave_rt.request import Devices, Options, Request
from interleave_rt.types import FinishedEvent, PlanStepEvent, Result

if TYPE_CHECKING:
    from interleave_rt.types import Span

__all__ = ["Case", "ObservedCall", "ObservedRequest", "Run", "observe"]

Case = tuple[Request, Options]


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call; times in milliseconds on the clock of its run."""

    case: int
    role: str
    step: int
    attempt: int
    retry: int
    start: float
    end: float
    done: bool  # it came to its end and its result was used

    @property
    def key(self) -> tuple[int, str, int, int, int]:
        """The same call of the same request in another run has the same key."""
        return (self.case, self.role, self.step, self.attempt, self.retry)


@dataclass(slots=True)
class ObservedRequest:
    """One request."""

    case: int
    start: float
    end: float
    result: Result
    closes: list[float]  # when the steps of the plan were heard of
    calls: list[ObservedCall] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """Before its first call and after its last one that counts."""
        used = [call for call in self.calls if call.done]
        return (min(c.start for c in used) - self.start) + (self.end - max(c.end for c in used))


@dataclass(slots=True)
class Run:
    """Some requests at one concurrency."""

    requests: list[ObservedRequest]
    gap: float  # median time between two requests of one client

    @property
    def wall(self) -> float:
        """From the first request to the end of the last one."""
        return max(one.end for one in self.requests) - min(one.start for one in self.requests)

    @property
    def calls(self) -> list[ObservedCall]:
        """All calls, those in vain too."""
        return [call for request in self.requests for call in request.calls]


def observe(
    engine: Engine, cases: Sequence[Case], concurrency: int, speculation: str, devices: Devices
) -> Run:
    """Runs the cases, `concurrency` at a time.

    Raises:
        BackendFailedError: A request did not finish: nothing that follows would mean anything.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        todo.put(index)
    began = time.perf_counter()
    found: list[ObservedRequest] = []
    gaps: list[float] = []
    failures: list[InterleaveError] = []

    def work() -> None:
        last: float | None = None
        while not failures:
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            try:
                one = _run(engine, index, cases[index], began, speculation, devices)
            except InterleaveError as error:
                failures.append(error)
                return
            if last is not None:
                gaps.append(one.start - last)
            last = one.end
            found.append(one)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(concurrency - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise BackendFailedError(
            f"[calibration] a request failed while it was measured: {failures[0].message}",
            hint="calibrate with requests that finish",
        )
    found.sort(key=lambda one: one.case)
    return Run(found, sorted(gaps)[len(gaps) // 2] if gaps else 0.0)


def _run(
    engine: Engine, index: int, case: Case, began: float, speculation: str, devices: Devices
) -> ObservedRequest:
    request, options = case
    start = time.perf_counter()
    handle = engine.submit(request, options=Options.of(options, speculation=speculation, devices=devices))
    closes: list[float] = []
    try:
        for event in handle:
            if isinstance(event, PlanStepEvent):
                closes.append(1000 * (time.perf_counter() - began))
            elif isinstance(event, FinishedEvent):
                end = time.perf_counter()
                if event.error is not None:
                    raise event.error
                made = ObservedRequest(
                    index, 1000 * (start - began), 1000 * (end - began), event.result, closes
                )
    finally:
        handle.close()
    made.calls = [_call(index, span, made.start) for span in made.result.trace]
    return made


def _call(index: int, span: Span, start: float) -> ObservedCall:
    # From the scheduler's decision on: the way to the lane is a part of the call.
    return ObservedCall(
        index,
        span.role,
        span.step,
        span.attempt,
        span.retry,
        start + span.queued_us / 1000,
        start + max(span.queued_us, span.ended_us) / 1000,
        done=span.used and span.outcome == "done",
    )
