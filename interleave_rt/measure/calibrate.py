"""Measures a calibration on a real engine."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError

from .arms import ARMS, Target, Threads
from .calibration import FORMAT, FORMAT_VERSION, Calibration
from .environment import describe_environment
from .fit import Key, Rates, Timeline, fit_rates, overlap_of, work_of
from .load import SampleRequest
from .record import ROLES, CallRecord, RequestRecord, closed_loop


class Calibrator:
    """Engines of every arm that stay open while requests are watched, so that a caller can put its own measurement between
    the rounds: a machine that changes from minute to minute is then the same for both.

    Args:
        target: `pack_target` or `scripted_target`.
        samples: Requests as `bench` makes them (`world_requests`, `numbered_requests`, `read_trace`); `keep` is "last".
        config: Of the engines; the arm decides about `batching`.
        threads: CPU threads; None: those of `config`.
        loads: Requests at once from which the batching curves are taken.
        say: Hears how far it is.

    Raises:
        BadRequestError: The requests cannot be replayed.
    """

    def __init__(
        self,
        target: Target,
        samples: Sequence[SampleRequest],
        *,
        config: EngineConfig | None = None,
        threads: Threads | None = None,
        loads: Sequence[int] = (2, 4, 8),
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not samples:
            raise BadRequestError("[calibration] give at least one request")
        check_replayable(samples)
        base = config or EngineConfig()
        base = replace(base, max_live=max(base.max_live, *loads))
        if threads is not None:
            base = replace(base, generator_threads=threads.generator, vlm_threads=threads.vlm)
        self._target, self._samples, self._config, self._loads = target, samples, base, tuple(loads)
        self._say = say or (lambda _text: None)
        self._open = ExitStack()
        self._arms: dict[str, _Watched] = {}

    def __enter__(self) -> Calibrator:
        with ExitStack() as opening:
            plain = opening.enter_context(self._target.open(replace(self._config, batching=False)))
            batched = opening.enter_context(self._target.open(replace(self._config, batching=True)))
            self._say("calibration: warm-up")
            for name, engine in (("sequential", plain), ("sequential-es", plain), ("speculative", batched)):
                self._arms[name] = _Watched(name, engine)
                self._arms[name].watch(self._samples[:4], 1)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def round(self) -> None:
        """About 11 passes over the requests: each arm one at a time and beside each other.

        Raises:
            BackendFailedError: A request failed.
        """
        for arm in self._arms.values():
            self._say(f"calibration: {arm.name}, one request at a time")
            arm.alone.append(arm.watch(self._samples, 1))
            if arm.name == "sequential":  # nothing in it overlaps: what is alone is alone
                arm.apart.append(arm.alone[-1])
                continue
            # Otherwise the first image is always made beside the plan, and how much work it is could not be told from
            # how much the plan slows it.
            arm.apart.append(arm.watch(self._samples, 1, stream_plan=False))
            self._say(f"calibration: {arm.name}, overlapped")
            if arm.name == "speculative":
                arm.beside.setdefault("ahead", []).append(arm.watch(self._samples, 1, "depth=1"))
            for count in self._loads if arm.name == "speculative" else self._loads[:2]:
                arm.beside.setdefault(f"x{count}", []).append(arm.watch(self._samples, count))

    def calibration(self) -> Calibration:
        """Fits the rounds so far, of which there is at least one."""
        found = {name: arm.fit(max(self._loads)) for name, arm in self._arms.items()}
        # Rates are those of the machine, whatever the arm: the plain loop never overlaps one request's own calls.
        found["sequential"].rates = found["sequential-es"].rates
        return Calibration.of(_document(self._target, self._samples, found))


def measure_calibration(
    target: Target, samples: Sequence[SampleRequest], *, repeats: int = 2, **settings: Any
) -> Calibration:
    """Runs the requests in every arm, one at a time and beside each other, and fits how lanes slow each other.

    It takes about 11 `repeats` passes over the requests. 12 to 24 requests are enough; they become the requests of the
    simulation, with their plans and verdicts.

    Args:
        target: See `Calibrator`.
        samples: See `Calibrator`.
        repeats: Rounds; from four on, the slowest and the fastest quarter of each kind are left out.
        settings: The others of `Calibrator`.

    Returns:
        A calibration; `.save(path)` writes it.

    Raises:
        BadRequestError: The requests cannot be replayed.
        BackendFailedError: A request failed.
    """
    with Calibrator(target, samples, **settings) as calibrator:
        for _ in range(max(1, repeats)):
            calibrator.round()
        return calibrator.calibration()


def check_replayable(samples: Sequence[SampleRequest]) -> None:
    """Raises `BadRequestError` where a request cannot be replayed: which image stays is not in a calibration."""
    for number, sample in enumerate(samples, start=1):
        options = sample.options
        if options.keep != "last" or options.judge_last:
            raise BadRequestError(
                f"[calibration] request {number} cannot be replayed: it has keep={options.keep!r}, "
                f"judge_last={options.judge_last}",
                hint='leave them out of the trace: keep is "last" and judge_last is false',
            )


@dataclass(frozen=True, slots=True)
class _Pass:
    """The requests once, at one concurrency, in their order."""

    records: list[RequestRecord]

    @property
    def wall_s(self) -> float:
        return max(one.ended for one in self.records) - min(one.submitted for one in self.records)

    @property
    def calls(self) -> list[CallRecord]:
        """Those in vain too."""
        return [call for record in self.records for call in record.calls]

    @property
    def idle_s(self) -> float:
        """The median between two requests of one client."""
        idle = sorted(one.idle_s for one in self.records if one.idle_s is not None)
        return idle[len(idle) // 2] if idle else 0.0


@dataclass(slots=True)
class _Watched:
    """An arm under observation."""

    name: str
    engine: Engine
    alone: list[_Pass] = field(default_factory=list)
    apart: list[_Pass] = field(default_factory=list)  # every call alone
    beside: dict[str, list[_Pass]] = field(default_factory=dict)  # by what was beside

    def watch(
        self,
        samples: Sequence[SampleRequest],
        concurrency: int,
        speculation: str = "off",
        **switches: bool,
    ) -> _Pass:
        arm = ARMS[self.name]
        arm = replace(arm, speculation=speculation, optimizations=replace(arm.optimizations, **switches))
        records = closed_loop(self.engine, arm, list(enumerate(samples)), concurrency)
        for record in records:
            if not record.finished:
                raise BackendFailedError(
                    f"[calibration] a request failed while it was measured: {record.message}",
                    hint="calibrate with requests that finish",
                )
        return _Pass(records)

    def fit(self, capacity: int) -> _Fitted:
        alone, apart = _usual(self.alone), _usual(self.apart)
        loads = [] if self.name == "sequential" else alone
        loads = [*loads, *(one for passes in self.beside.values() for one in _usual(passes))]
        width = capacity if ARMS[self.name].batching else 1
        rates, work = fit_rates([one.calls for one in apart], [one.calls for one in loads], width)
        found = {lane["role"]: lane for lane in self.engine.lanes()}
        lanes = {role: {key: found[role][key] for key in ("capacity", "device")} for role in ROLES}
        return _Fitted(self.name != "sequential", lanes, rates, work, alone)


def _usual(passes: Sequence[_Pass]) -> list[_Pass]:
    """The middle half by their length: what a busy neighbour of the machine did to a round is not the machine."""
    cut = len(passes) // 4
    return sorted(passes, key=lambda one: one.wall_s)[cut : len(passes) - cut]


def _document(
    target: Target, samples: Sequence[SampleRequest], found: Mapping[str, _Fitted]
) -> dict[str, Any]:
    environment = describe_environment(gpu=False)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "measured": {
            "at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "target": target.name,
            **{key: environment[key] for key in ("cpu", "cores", "packages", "revision")},
        },
        **overlap_of(found["speculative"].rates),
        "denoising_steps": samples[0].options.denoising_steps or target.denoising_steps,
        "arms": {name: arm.lanes_document() for name, arm in found.items()},
        "requests": [
            {
                "t_max": sample.options.t_max,
                "arms": {name: arm.request_document(index) for name, arm in found.items()},
            }
            for index, sample in enumerate(samples)
        ],
    }


@dataclass(slots=True)
class _Fitted:
    """What was found of an arm; times in seconds, in the file in milliseconds."""

    streamed: bool
    lanes: dict[str, dict[str, Any]]
    rates: Rates
    work: Mapping[Key, float]
    alone: list[_Pass]

    def lanes_document(self) -> dict[str, Any]:
        lanes = {
            role: {
                **lane,
                "batching": [round(float(x), 4) for x in self.rates.curve[role][: max(1, lane["capacity"])]],
                "warm_ms": _ms(self.rates.warm[role]),
            }
            for role, lane in self.lanes.items()
        }
        overhead = [_overhead(record) for one in self.alone for record in one.records]
        return {
            "lanes": lanes,
            "rates": self.rates.named(),
            "submit_ms": _ms(max(0.0, statistics.median(one.idle_s for one in self.alone))),
            "reader_ms": _ms(max(0.0, statistics.median(overhead))),
        }

    def request_document(self, index: int) -> dict[str, Any]:
        pattern = self.alone[0].records[index].pattern
        accepting = self._accepting_s()
        steps = []
        for number, attempts in enumerate(pattern):
            tries = []
            for attempt, accepted in enumerate(attempts, start=1):
                keys = [(index, "critic", number, attempt, retry) for retry in (0, 1)]
                judge = [self.work[key] for key in keys if key in self.work]
                whole = statistics.fmean(judge) if judge else 0.0
                # A refusal's boolean is not in the trace: as long as it takes to accept, on an average.
                known = min(whole, accepting) if self.streamed and accepted is False else whole
                tries.append(
                    {
                        "generate_ms": _ms(self.work.get((index, "generator", number, attempt, 0), 0.0)),
                        "verdict_ms": _ms(known),
                        "judge_ms": _ms(whole),
                        "accepted": accepted,
                    }
                )
            steps.append(tries)
        # A plan that was read at the second try counts whole.
        plan = self.work.get((index, "planner", 0, 0, 0)) or sum(
            work for key, work in self.work.items() if key[:2] == (index, "planner")
        )
        closes = self._closes(index, plan) if self.streamed else [plan] * len(steps)
        return {"plan_ms": _ms(plan), "closes_ms": [_ms(at) for at in closes], "steps": steps}

    def _accepting_s(self) -> float:
        """Of accepted attempts, which end at their boolean."""
        found = [
            self.work[key]
            for record in self.alone[0].records
            for number, attempts in enumerate(record.pattern)
            for attempt, accepted in enumerate(attempts, start=1)
            if accepted and (key := (record.index, "critic", number, attempt, 0)) in self.work
        ]
        return statistics.fmean(found) if found else 0.0

    def _closes(self, index: int, plan: float) -> list[float]:
        """Work of the plan at which each step was known: the median over the passes."""
        passes = [self._closes_of(one.records[index], Timeline(one.calls)) for one in self.alone]
        closes, last = [], 0.0
        for values in zip(*passes, strict=True):
            last = min(plan, max(last, statistics.median(values)))
            closes.append(last)
        return closes

    def _closes_of(self, record: RequestRecord, line: Timeline) -> list[float]:
        start = min(call.queued for call in record.calls if call.role == "planner" and call.counts)
        capacity = len(self.rates.curve["planner"])
        return [
            work_of(line.exposure("planner", start, at, capacity), "planner", self.rates)
            for at in record.closes
        ]


def _overhead(record: RequestRecord) -> float:
    """Before the first call that counts and after the last one."""
    used = [call for call in record.calls if call.counts]
    return (min(c.queued for c in used) - record.submitted) + (record.ended - max(c.end for c in used))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 4)
