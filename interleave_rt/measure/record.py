"""What happened to requests, and the loops that put them on an engine. Virtual time writes the same records."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError, InterleaveError, OverloadedError
from interleave_rt.request import Options
from interleave_rt.result import FinishedEvent, Result
from interleave_rt.shown import for_people
from interleave_rt.wire import AttemptImageEvent, PlanStepEvent, Span, StepCommittedEvent, VerdictEvent

from .arms import Arm
from .load import SampleRequest

ROLES = ("planner", "generator", "critic")  # in the order of the core's numbers


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a role; times in seconds on the clock of its turn."""

    request: int
    role: str
    step: int
    attempt: int
    retry: int
    queued: float  # the scheduler decided to make it
    start: float  # it was on its lane
    end: float
    speculative: bool
    used: bool  # the sequential program consumed its result
    done: bool  # it came to its end
    served: bool  # it came to its end undisturbed: its time counts as the role's
    cancel_s: float | None = None  # from giving it up to its lane's last word

    @property
    def key(self) -> tuple[int, str, int, int, int]:
        """The same call of the same request in another turn has the same key."""
        return (self.request, self.role, self.step, self.attempt, self.retry)

    @property
    def counts(self) -> bool:
        """It came to its end, and its result was used."""
        return self.used and self.done


@dataclass(slots=True)
class RequestRecord:
    """One request in one arm; times in seconds."""

    index: int
    outcome: str  # finished, or the code of an error; overloaded: it was refused
    submitted: float = 0.0
    ended: float = 0.0
    e2e_s: float = 0.0
    ttfi_s: float | None = None
    image_gaps_s: list[float] = field(default_factory=list)
    verdict_s: list[float] = field(default_factory=list)  # from each image to its verdict
    closes: list[float] = field(default_factory=list)  # when the steps of the plan were heard of
    idle_s: float | None = None  # since the same client's last request
    steps: int = 0
    pattern: list[list[bool | None]] = field(default_factory=list)  # by step and attempt; None: not judged
    verdicts: list[tuple[int, bool]] = field(default_factory=list)  # (attempt, accepted)
    calls: list[CallRecord] = field(default_factory=list)
    digest: str = ""
    message: str = ""
    unchecked: Result | None = field(default=None, repr=False)  # to be held to its own answers

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.outcome == "finished"


@dataclass(slots=True)
class Turn:
    """A stretch of one arm: consecutive requests, and the wall time from the first submission to the last end."""

    arm: str
    number: int
    records: list[RequestRecord]
    wall_s: float
    peak_rss_mb: float = 0.0


def run_request(
    engine: Engine, arm: Arm, index: int, sample: SampleRequest, due: float | None = None
) -> RequestRecord:
    """Runs one request to its end. Its latency counts from `due`, the moment at which it should have come in."""
    record = RequestRecord(index, "finished")
    record.submitted = time.perf_counter()
    start = record.submitted if due is None else due
    options = Options.of(sample.options, speculation=arm.speculation, optimizations=arm.optimizations)
    try:
        handle = engine.submit(sample.request, options=options)
    except OverloadedError as error:
        record.outcome, record.message = error.code, for_people(error.message)
        record.ended = time.perf_counter()
        return record
    last_image: float | None = None
    made: dict[tuple[int, int], float] = {}
    try:
        for event in handle:
            now = time.perf_counter()
            if isinstance(event, PlanStepEvent):
                record.closes.append(now)
            elif isinstance(event, AttemptImageEvent):
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
                if event.error is None and event.result.pack.get("lossless") == "replay":
                    record.unchecked = event.result
    finally:
        handle.close()
    return record


def closed_loop(
    engine: Engine,
    arm: Arm,
    samples: Sequence[tuple[int, SampleRequest]],
    concurrency: int,
    progress: Callable[[], None] = lambda: None,
    *,
    due: float | None = None,
) -> list[RequestRecord]:
    """Keeps `concurrency` requests under way until all have ended; records by the requests' numbers."""
    todo: queue.SimpleQueue[tuple[int, SampleRequest]] = queue.SimpleQueue()
    for sample in samples:
        todo.put(sample)
    done: list[RequestRecord] = []
    failures: list[BaseException] = []

    def work() -> None:
        last: RequestRecord | None = None
        while not failures:
            try:
                index, sample = todo.get_nowait()
            except queue.Empty:
                return
            try:
                record = run_request(engine, arm, index, sample, due)
            except BaseException as error:  # noqa: BLE001 - handed to the caller below
                failures.append(error)
                return
            if last is not None:
                record.idle_s = record.submitted - last.ended
            last = record
            done.append(record)
            progress()

    if concurrency == 1:
        work()
    else:
        threads: list[threading.Thread] = []
        for _ in range(concurrency):
            _start(threads, threading.Thread(target=work, daemon=True), failures)
        _join(threads)
    return _sorted(done, failures)


def open_loop(
    engine: Engine,
    arm: Arm,
    samples: Sequence[tuple[int, SampleRequest]],
    at_us: Sequence[int],
    progress: Callable[[], None] = lambda: None,
) -> list[RequestRecord]:
    """Requests come in at their times, whether or not the earlier ones have ended."""
    done: list[RequestRecord] = []
    failures: list[BaseException] = []

    def work(index: int, sample: SampleRequest, due: float) -> None:
        try:
            done.append(run_request(engine, arm, index, sample, due))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failures.append(error)
        progress()

    began = time.perf_counter()
    threads: list[threading.Thread] = []
    for (index, sample), at in zip(samples, at_us, strict=True):
        due = began + at / 1e6
        time.sleep(max(0.0, due - time.perf_counter()))
        threads = [thread for thread in threads if thread.is_alive()]
        _start(threads, threading.Thread(target=work, args=(index, sample, due), daemon=True), failures)
        if failures:
            break
    _join(threads)
    return _sorted(done, failures)


def _start(threads: list[threading.Thread], thread: threading.Thread, failures: list[BaseException]) -> None:
    """Where the system has no thread left, those that run end their requests, and that is what is said of it."""
    try:
        thread.start()
    except RuntimeError as error:
        failures.append(
            BackendFailedError(
                f"[bench] no thread for client {len(threads) + 1}: {error}",
                hint="ask for fewer requests at once, or raise the limit of this user (ulimit -u)",
            )
        )
    else:
        threads.append(thread)


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():  # in slices, so that Ctrl-C is seen
            thread.join(0.2)


def _sorted(done: list[RequestRecord], failures: list[BaseException]) -> list[RequestRecord]:
    if failures:
        raise failures[0]
    return sorted(done, key=lambda record: record.index)


def check_answers(engine: Engine, arm: Arm, records: Sequence[RequestRecord]) -> None:
    """Holds results of models that need not repeat themselves to their own answers; outside of what is timed.

    Those that equal the sequential loop over their answers have one digest, as they need not equal each other.
    """
    for record in records:
        result, record.unchecked = record.unchecked, None
        if result is None:
            continue
        try:
            equal = engine.replay(result) == result.canonical()
        except BadRequestError:
            continue  # graphs that were not recorded: the arms are compared with each other
        except InterleaveError:
            equal = False
        record.digest = "replayed" if equal else f"{arm.name} differs from its own answers"


def _read(record: RequestRecord, result: Result, error: InterleaveError | None) -> None:
    record.outcome = "finished" if error is None else error.code
    record.message = "" if error is None else for_people(error.message)
    record.steps = len(result.steps)
    said = result.canonical() if error is None else {"failed": error.code}
    record.digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    record.pattern = [
        [None if one.verdict is None else one.verdict.accepted for one in step.attempts]
        for step in result.steps
    ]
    record.calls = [_call(record, span) for span in result.trace]


def _call(record: RequestRecord, span: Span) -> CallRecord:
    done, given_up = span.outcome == "done", span.cancel_us is not None
    return CallRecord(
        record.index,
        span.role,
        span.step,
        span.attempt,
        span.retry,
        queued=record.submitted + span.queued_us / 1e6,
        start=record.submitted + span.started_us / 1e6,
        end=record.submitted + max(span.started_us, span.ended_us) / 1e6,
        speculative=span.speculative,
        used=span.used,
        done=done,
        served=done and not given_up,
        cancel_s=max(0, span.ended_us - span.cancel_us) / 1e6
        if span.cancel_us is not None and span.outcome in ("cancelled", "done")
        else None,
    )
