"""Measures a calibration on a real engine."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from interleave_rt.bench.arms import ARMS as BENCH_ARMS
from interleave_rt.bench.arms import PackTarget, ScriptedTarget, Target, Threads
from interleave_rt.bench.environment import describe_environment
from interleave_rt.bench.workload import Case
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BadRequestError
from interleave_rt.request import Devices, Options, Request

from .calibration import FORMAT, FORMAT_VERSION, Calibration
from .fit import Rates, Timeline, fit_rates, overlap_of, work_of
from .machine import ROLES
from .observe import ObservedRequest, Run, observe

__all__ = ["measure_calibration"]

_Work = Mapping[tuple[int, str, int, int, int], float]


def measure_calibration(
    target: Target,
    cases: Sequence[Case],
    *,
    config: EngineConfig | None = None,
    threads: Threads | None = None,
    loads: Sequence[int] = (2, 4, 8),
    repeats: int = 2,
    say: Callable[[str], None] | None = None,
) -> Calibration:
    """Runs the requests in every arm, one at a time and beside each other, and fits how lanes slow each other.

    It takes about 4 + 5 `repeats` + 1.5 len(`loads`) passes over the requests. 12 to 24 requests are enough; they
    become the requests of the simulation, with their plans and verdicts.

    Args:
        target: `PackTarget` or `ScriptedTarget` of `interleave_rt.bench.arms`.
        cases: Requests as `bench` makes them (`world_cases`, `numbered_cases`, `read_trace`); `keep` is "last".
        config: Of the engines; the arm decides about `batching`.
        threads: CPU threads; None: those of `config`.
        loads: Requests at once from which the batching curves are taken.
        repeats: Runs of one request at a time in each arm.
        say: Hears how far it is.

    Returns:
        A calibration; `.save(path)` writes it.

    Raises:
        BadRequestError: The requests cannot be replayed.
        BackendFailedError: A request failed.
    """
    if not cases or any(case.options.keep != "last" or case.options.judge_last for case in cases):
        raise BadRequestError('[calibration] give at least one request, all of them with keep="last"')
    hear = say or (lambda _text: None)
    base = config or EngineConfig()
    base = replace(base, max_live=max(base.max_live, *loads))
    if threads is not None:
        base = replace(base, generator_threads=threads.generator, vlm_threads=threads.vlm)
    pairs = [(case.request, case.options) for case in cases]
    found: dict[str, _Arm] = {}
    with target.open(replace(base, batching=False)) as engine:
        hear("calibration: warm-up")
        for name in ("sequential", "sequential-es"):
            devices = BENCH_ARMS[name].devices
            observe(engine, pairs[:4], 1, "off", devices)
            hear(f"calibration: {name}, one request at a time")
            alone = [observe(engine, pairs, 1, "off", devices) for _ in range(repeats)]
            base_runs, beside = alone, []
            if name == "sequential-es":
                base_runs = _apart(engine, pairs, devices, repeats)
                hear(f"calibration: {name}, several at a time")
                beside = [*alone, *(observe(engine, pairs, count, "off", devices) for count in loads[:2])]
            found[name] = _Arm.fit(engine, alone, base_runs, beside, 1)
        # Rates are those of the machine, whatever the arm: the plain loop never overlaps one request's own calls.
        found["sequential"].rates = found["sequential-es"].rates
    with target.open(replace(base, batching=True)) as engine:
        devices = BENCH_ARMS["speculative"].devices
        hear("calibration: speculative, one request at a time")
        observe(engine, pairs[:4], 1, "off", devices)
        alone = [observe(engine, pairs, 1, "off", devices) for _ in range(repeats)]
        base_runs = _apart(engine, pairs, devices, repeats)
        hear("calibration: speculative, overlapped")
        beside = [*alone, observe(engine, pairs, 1, "depth=1", devices)]
        beside += [observe(engine, pairs, count, "off", devices) for count in loads]
        found["speculative"] = _Arm.fit(engine, alone, base_runs, beside, max(loads))
    return Calibration.of(_document(target, cases, found))


@dataclass(slots=True)
class _Arm:
    lanes: dict[str, dict[str, Any]]
    rates: Rates
    work: _Work
    alone: list[Run]

    @classmethod
    def fit(
        cls, engine: Engine, alone: list[Run], base: Sequence[Run], beside: Sequence[Run], capacity: int
    ) -> _Arm:
        rates, work = fit_rates([run.calls for run in base], [run.calls for run in beside], capacity)
        return cls(_lanes(engine), rates, work, alone)


def _apart(
    engine: Engine, pairs: Sequence[tuple[Request, Options]], devices: Devices, repeats: int
) -> list[Run]:
    """The arm with its plans not streamed: otherwise the first image is always made beside the plan, and how much work
    it is could not be told from how much the plan slows it.
    """
    return [observe(engine, pairs, 1, "off", replace(devices, stream_plan=False)) for _ in range(repeats)]


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
