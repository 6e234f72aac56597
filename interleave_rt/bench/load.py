"""Puts requests on an engine and writes down when things happened."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from interleave_rt.engine import Engine
from interleave_rt.errors import InterleaveError, OverloadedError
from interleave_rt.request import Options
from interleave_rt.types import (
    AttemptImageEvent,
    FinishedEvent,
    Result,
    StepCommittedEvent,
    VerdictEvent,
)

from .arms import Arm
from .workload import Case

__all__ = ["Block", "Record", "closed_loop", "open_loop", "run_case"]


@dataclass(slots=True)
class Record:
    """One request in one arm. Times in seconds; those of calls on the clock of `time.perf_counter`."""

    index: int
    outcome: str  # finished, or the code of an error; overloaded: it was refused
    submitted: float = 0.0
    ended: float = 0.0
    e2e_s: float = 0.0
    ttfi_s: float | None = None
    image_gaps_s: list[float] = field(default_factory=list)
    verdict_s: list[float] = field(default_factory=list)
    steps: int = 0
    digest: str = ""
    verdicts: list[tuple[int, bool]] = field(default_factory=list)
    pattern: list[list[bool | None]] = field(default_factory=list)  # by step and attempt; None: not judged
    speculated: int = 0
    used: int = 0
    discarded: int = 0
    wasted_s: float = 0.0
    calls: list[tuple[str, float, float]] = field(default_factory=list)  # role, start, end
    service_s: list[tuple[str, float]] = field(default_factory=list)  # of calls that were done
    cancel_s: list[tuple[str, float]] = field(
        default_factory=list
    )  # from giving it up to its lane's last word
    message: str = ""

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.outcome == "finished"


@dataclass(slots=True)
class Block:
    """A stretch of one arm: consecutive requests and the wall time from the first submission to the last end."""

    arm: str
    number: int
    records: list[Record]
    wall_s: float
    peak_rss_mb: float = 0.0


def run_case(engine: Engine, arm: Arm, index: int, case: Case, due: float | None = None) -> Record:
    """Runs one request to its end. Its latency counts from `due`, the moment at which it should have come in."""
    record = Record(index, "finished")
    record.submitted = time.perf_counter()
    start = record.submitted if due is None else due
    options = Options.of(case.options, speculation=arm.speculation, devices=arm.devices)
    try:
        handle = engine.submit(case.request, options=options)
    except OverloadedError as error:
        record.outcome, record.message = error.code, error.message
        record.ended = time.perf_counter()
        return record
    last_image: float | None = None
    made: dict[tuple[int, int], float] = {}
    try:
        for event in handle:
            now = time.perf_counter()
            if isinstance(event, AttemptImageEvent):
                made[event.index, event.attempt.number] = now
            elif isinstance(event, VerdictEvent):
                record.verdict_s.append(now - made[event.index, event.attempt])
                record.verdicts.append((event.attempt, event.verdict.accepted))
            elif isinstance(event, StepCommittedEvent) and event.step.pixels is not None:
                if last_image is None:
                    record.ttfi_s = now - start
                else:
                    record.image_gaps_s.append(now - last_image)
                last_image = now
            elif isinstance(event, FinishedEvent):
                record.ended, record.e2e_s = now, now - start
                _read(record, event.result, event.error)
    finally:
        handle.close()
    return record


def closed_loop(
    engine: Engine,
    arm: Arm,
    cases: Sequence[tuple[int, Case]],
    concurrency: int,
    progress: Callable[[], None],
    *,
    due: float | None = None,
) -> list[Record]:
    """Keeps `concurrency` requests under way until all have ended."""
    todo: queue.SimpleQueue[tuple[int, Case]] = queue.SimpleQueue()
    for case in cases:
        todo.put(case)
    done: list[Record] = []
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            try:
                index, case = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.append(run_case(engine, arm, index, case, due))
            except BaseException as error:  # noqa: BLE001 - handed to the caller below
                failures.append(error)
                return
            progress()

    if concurrency == 1:
        work()
    else:
        _join([threading.Thread(target=work, daemon=True) for _ in range(concurrency)])
    if failures:
        raise failures[0]
    return sorted(done, key=lambda record: record.index)


def open_loop(
    engine: Engine,
    arm: Arm,
    cases: Sequence[tuple[int, Case]],
    at_s: Sequence[float],
    progress: Callable[[], None],
) -> list[Record]:
    """Requests come in at their times, whether or not the earlier ones have ended."""
    done: list[Record] = []
    failures: list[BaseException] = []

    def work(index: int, case: Case, due: float) -> None:
        try:
            done.append(run_case(engine, arm, index, case, due))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failures.append(error)
        progress()

    began = time.perf_counter()
    threads = []
    for (index, case), at in zip(cases, at_s, strict=True):
        due = began + at
        time.sleep(max(0.0, due - time.perf_counter()))
        threads.append(threading.Thread(target=work, args=(index, case, due), daemon=True))
        threads[-1].start()
        threads = [thread for thread in threads if thread.is_alive()]
    _join(threads, started=True)
    if failures:
        raise failures[0]
    return sorted(done, key=lambda record: record.index)


def _join(threads: Sequence[threading.Thread], *, started: bool = False) -> None:
    for thread in threads:
        if not started:
            thread.start()
    for thread in threads:
        while thread.is_alive():  # in slices, so that Ctrl-C is seen
            thread.join(0.2)


def _read(record: Record, result: Result, error: InterleaveError | None) -> None:
    record.outcome = "finished" if error is None else error.code
    record.message = "" if error is None else error.message
    record.steps = len(result.steps)
    said = result.canonical() if error is None else {"failed": error.code}
    record.digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    record.pattern = [
        [None if one.verdict is None else one.verdict.accepted for one in step.attempts]
        for step in result.steps
    ]
    ahead = result.speculation
    record.speculated, record.used, record.discarded = ahead.started, ahead.used, ahead.discarded
    record.wasted_s = ahead.discarded_s
    for span in result.trace:
        start, end = span.started_us / 1e6, max(span.started_us, span.ended_us) / 1e6
        record.calls.append((span.role, record.submitted + start, record.submitted + end))
        if span.outcome == "done" and span.cancel_us is None:
            record.service_s.append((span.role, end - start))
        if span.cancel_us is not None and span.outcome in ("cancelled", "done"):
            record.cancel_s.append((span.role, max(0, span.ended_us - span.cancel_us) / 1e6))
