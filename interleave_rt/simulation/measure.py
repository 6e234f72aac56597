"""Measures a calibration on a real engine."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from interleave_rt.bench.arms import ARMS as BENCH_ARMS
from interleave_rt.bench.arms import PackTarget, ScriptedTarget, Target, Threads
from interleave_rt.bench.environment import describe_environment
from interleave_rt.bench.workload import Case
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BadRequestError
from interleave_rt.request import Options, Request

from .calibration import FORMAT, FORMAT_VERSION, Calibration
from .fit import Rates, Timeline, fit_rates, overlap_of, work_of
from .machine import ROLES
from .observe import ObservedRequest, Run, observe

__all__ = ["Calibrator", "measure_calibration"]

_Work = Mapping[tuple[int, str, int, int, int], float]


class Calibrator:
    """Engines of every arm that stay open while requests are watched, so that a caller can put its own measurement between
    the rounds: a machine that changes from minute to minute is then the same for both.

    Args:
        target: `PackTarget` or `ScriptedTarget` of `interleave_rt.bench.arms`.
        cases: Requests as `bench` makes them (`world_cases`, `numbered_cases`, `read_trace`); `keep` is "last".
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
        cases: Sequence[Case],
        *,
        config: EngineConfig | None = None,
        threads: Threads | None = None,
        loads: Sequence[int] = (2, 4, 8),
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not cases or any(case.options.keep != "last" or case.options.judge_last for case in cases):
            raise BadRequestError('[calibration] give at least one request, all of them with keep="last"')
        base = config or EngineConfig()
        base = replace(base, max_live=max(base.max_live, *loads))
        if threads is not None:
            base = replace(base, generator_threads=threads.generator, vlm_threads=threads.vlm)
        self._target, self._cases, self._config, self._loads = target, cases, base, tuple(loads)
        self._pairs = [(case.request, case.options) for case in cases]
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
                self._arms[name].watch(self._pairs[:4], 1)
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
            arm.alone.append(arm.watch(self._pairs, 1))
            if arm.name == "sequential":  # nothing in it overlaps: what is alone is alone
                arm.apart.append(arm.alone[-1])
                continue
            # Otherwise the first image is always made beside the plan, and how much work it is could not be told from
            # how much the plan slows it.
            arm.apart.append(arm.watch(self._pairs, 1, stream_plan=False))
            self._say(f"calibration: {arm.name}, overlapped")
            if arm.name == "speculative":
                arm.beside.setdefault("ahead", []).append(arm.watch(self._pairs, 1, "depth=1"))
            for count in self._loads if arm.name == "speculative" else self._loads[:2]:
                arm.beside.setdefault(f"x{count}", []).append(arm.watch(self._pairs, count))

    def calibration(self) -> Calibration:
        """Fits the rounds so far, of which there is at least one."""
        found = {name: arm.fit(max(self._loads)) for name, arm in self._arms.items()}
        # Rates are those of the machine, whatever the arm: the plain loop never overlaps one request's own calls.
        found["sequential"].rates = found["sequential-es"].rates
        return Calibration.of(_document(self._target, self._cases, found))


def measure_calibration(
    target: Target, cases: Sequence[Case], *, repeats: int = 2, **settings: Any
) -> Calibration:
    """Runs the requests in every arm, one at a time and beside each other, and fits how lanes slow each other.

    It takes about 11 `repeats` passes over the requests. 12 to 24 requests are enough; they become the requests of the
    simulation, with their plans and verdicts.

    Args:
        target: See `Calibrator`.
        cases: See `Calibrator`.
        repeats: Rounds; from four on, the slowest and the fastest quarter of each kind are left out.
        settings: The others of `Calibrator`.

    Returns:
        A calibration; `.save(path)` writes it.

    Raises:
        BadRequestError: The requests cannot be replayed.
        BackendFailedError: A request failed.
    """
    with Calibrator(target, cases, **settings) as calibrator:
        for _ in range(max(1, repeats)):
            calibrator.round()
        return calibrator.calibration()


@dataclass(slots=True)
class _Watched:
    """An arm under observation."""

    name: str
    engine: Engine
    alone: list[Run] = field(default_factory=list)
    apart: list[Run] = field(default_factory=list)  # every call alone
    beside: dict[str, list[Run]] = field(default_factory=dict)  # by what was beside

    def watch(
        self,
        pairs: Sequence[tuple[Request, Options]],
        concurrency: int,
        speculation: str = "off",
        **devices: bool,
    ) -> Run:
        return observe(
            self.engine, pairs, concurrency, speculation, replace(BENCH_ARMS[self.name].devices, **devices)
        )

    def fit(self, capacity: int) -> _Arm:
        alone, apart = _usual(self.alone), _usual(self.apart)
        loads = [] if self.name == "sequential" else alone
        loads = [*loads, *(run for runs in self.beside.values() for run in _usual(runs))]
        width = capacity if BENCH_ARMS[self.name].batching else 1
        rates, work = fit_rates([run.calls for run in apart], [run.calls for run in loads], width)
        return _Arm(_lanes(self.engine), rates, work, alone)


def _usual(runs: Sequence[Run]) -> list[Run]:
    """The middle half by their length: what a busy neighbour of the machine did to a round is not the machine."""
    cut = len(runs) // 4
    return sorted(runs, key=lambda run: run.wall)[cut : len(runs) - cut]


@dataclass(slots=True)
class _Arm:
    lanes: dict[str, dict[str, Any]]
    rates: Rates
    work: _Work
    alone: list[Run]


def _lanes(engine: Engine) -> dict[str, dict[str, Any]]:
    found = {lane["role"]: lane for lane in engine.lanes()}
    return {role: {"capacity": found[role]["capacity"], "device": found[role]["device"]} for role in ROLES}


def _document(target: Target, cases: Sequence[Case], found: Mapping[str, _Arm]) -> dict[str, Any]:
    environment = describe_environment(gpu=False)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "measured": {
            "at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "target": target.name,
            "cpu": environment["cpu"],
            "cores": environment["cores"],
            "packages": environment["packages"],
            "revision": environment["revision"],
        },
        **overlap_of(found["speculative"].rates),
        "denoising_steps": _denoising_steps(target, cases),
        "arms": {name: _arm_file(arm) for name, arm in found.items()},
        "requests": [
            {
                "t_max": case.options.t_max,
                "arms": {name: _work_file(arm, index, name) for name, arm in found.items()},
            }
            for index, case in enumerate(cases)
        ],
    }


def _denoising_steps(target: Target, cases: Sequence[Case]) -> int:
    asked = cases[0].options.denoising_steps
    if asked:
        return asked
    if isinstance(target, ScriptedTarget):
        return target.script.denoise_steps
    generator = target.pack.manifest.roles.generator if isinstance(target, PackTarget) else None
    return generator.scheduler.num_inference_steps if generator else 4


def _arm_file(arm: _Arm) -> dict[str, Any]:
    lanes = {
        role: {
            **lane,
            "batching": [round(float(x), 4) for x in arm.rates.curve[role][: max(1, lane["capacity"])]],
            "warm_ms": round(arm.rates.warm[role], 4),
        }
        for role, lane in arm.lanes.items()
    }
    overhead = [request.overhead for run in arm.alone for request in run.requests]
    return {
        "lanes": lanes,
        "rates": arm.rates.named(),
        "submit_ms": round(max(0.0, statistics.median(run.gap for run in arm.alone)), 4),
        "reader_ms": round(max(0.0, statistics.median(overhead)), 4),
    }


def _work_file(arm: _Arm, index: int, name: str) -> dict[str, Any]:
    request = arm.alone[0].requests[index]
    verdicts = _verdict_times(arm)
    steps = []
    for number, step in enumerate(request.result.steps):
        tries = []
        for one in step.attempts:
            key = (number, one.number)
            judge = [
                work for retry in (0, 1) if (work := arm.work.get((index, "critic", *key, retry))) is not None
            ]
            whole = statistics.fmean(judge) if judge else 0.0
            accepted = None if one.verdict is None else one.verdict.accepted
            # A refusal's boolean is not in the trace: as long as it takes to accept, on an average.
            known = whole if name == "sequential" or accepted is not False else min(whole, verdicts)
            tries.append(
                {
                    "generate_ms": round(arm.work.get((index, "generator", *key, 0), 0.0), 4),
                    "verdict_ms": round(known, 4),
                    "judge_ms": round(whole, 4),
                    "accepted": accepted,
                }
            )
        steps.append(tries)
    plan = arm.work.get((index, "planner", 0, 0, 0)) or _any_plan(arm, index)
    closes = _closes(arm, index, plan) if name != "sequential" else [plan] * len(steps)
    return {"plan_ms": round(plan, 4), "closes_ms": [round(at, 4) for at in closes], "steps": steps}


def _any_plan(arm: _Arm, index: int) -> float:
    """A plan that was read at the second try counts whole."""
    return sum(work for key, work in arm.work.items() if key[0] == index and key[1] == "planner")


def _verdict_times(arm: _Arm) -> float:
    """Of accepted attempts, which end at their boolean."""
    found = [
        arm.work[key]
        for run in arm.alone[:1]
        for request in run.requests
        for number, step in enumerate(request.result.steps)
        for one in step.attempts
        if one.verdict is not None
        and one.verdict.accepted
        and (key := (request.case, "critic", number, one.number, 0)) in arm.work
    ]
    return statistics.fmean(found) if found else 0.0


def _closes(arm: _Arm, index: int, plan: float) -> list[float]:
    """Work of the plan at which each step was known: the median over the runs."""
    runs = [_closes_of(arm, run.requests[index], Timeline(run.calls)) for run in arm.alone]
    closes, last = [], 0.0
    for values in zip(*runs, strict=True):
        last = min(plan, max(last, statistics.median(values)))
        closes.append(last)
    return closes


def _closes_of(arm: _Arm, request: ObservedRequest, line: Timeline) -> list[float]:
    plans = [call for call in request.calls if call.role == "planner" and call.done]
    start = min(call.start for call in plans)
    capacity = len(arm.rates.curve["planner"])
    return [
        work_of(line.exposure("planner", start, at, capacity), "planner", arm.rates) for at in request.closes
    ]
