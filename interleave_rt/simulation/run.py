"""Runs the arms over the same requests in virtual time; the document has the keys of `interleave-rt bench`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np

from interleave_rt import _core
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options

from .machine import ROLES, Machine
from .workload import Tasks, arrivals_ms, check_seed

__all__ = ["ARMS", "FORMAT_VERSION", "Arm", "Load", "arm_of", "simulate"]

FORMAT_VERSION = 1
MOST_REQUESTS = 1_000_000
Scenario = Literal["single-stream", "closed-loop", "server", "offline"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One setting of the latency devices. S5 to S7 change the work of calls, not the schedule: see `Tasks.of`."""

    name: str
    speculation: str
    streaming: bool  # S1, S3, S4
    batching: bool  # S8


ARMS = {
    arm.name: arm
    for arm in (
        Arm("sequential", "off", streaming=False, batching=False),
        Arm("sequential-es", "off", streaming=True, batching=False),
        Arm("speculative", "auto", streaming=True, batching=True),
    )
}


def arm_of(name: str) -> Arm:
    """An arm by its name; `depth=K` is `speculative` with a fixed depth.

    Raises:
        BadRequestError: There is no such arm.
    """
    if name in ARMS:
        return ARMS[name]
    if name.startswith("depth="):
        Options(speculation=name).speculation_depth()
        return Arm(name, name, streaming=True, batching=True)
    raise BadRequestError(f"[simulate] there is no arm {name!r}", hint=f"arms: {', '.join(ARMS)}, depth=K")


@dataclass(frozen=True, slots=True)
class Load:
    """When requests come, and what counts as good.

    Args:
        scenario: `single-stream`: one at a time; `closed-loop`: `concurrency` at a time; `server`: at `request_rate` a
            second; `offline`: all at once.
        slo_ms: Limits by name (`e2e`, `ttfi`): a request that keeps all of them counts for the goodput.
    """

    scenario: Scenario = "single-stream"
    concurrency: int = 1
    request_rate: float = math.inf
    burstiness: float = 1.0
    max_live: int = 8
    max_queued: int | None = None  # None: nothing is refused
    seed: int = 0
    judge_last: bool = False
    percentiles: Sequence[float] = (50.0, 90.0, 95.0, 99.0)
    slo_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ("single-stream", "closed-loop", "server", "offline")
        if self.scenario not in known:
            raise BadRequestError(
                f"[simulate] --scenario is {self.scenario!r}", hint=f"it is one of {', '.join(known)}"
            )
        check_seed(self.seed)
        for name, value, least in (
            ("concurrency", self.concurrency, 1),
            ("max_live", self.max_live, 1),
            ("max_queued", self.max_queued or 0, 0),
        ):
            if not least <= value <= MOST_REQUESTS:
                raise BadRequestError(
                    f"[simulate] {name} is {value}: {least} to {MOST_REQUESTS} are possible"
                )
        unknown = sorted(set(self.slo_ms) - {"e2e", "ttfi"})
        if unknown:
            raise BadRequestError(f"[simulate] --slo has no limit {unknown[0]!r}", hint="limits: e2e, ttfi")


def simulate(
    machine: Machine | Callable[[str], Machine], tasks: Tasks, load: Load, arms: Sequence[Arm]
) -> dict[str, Any]:
    """Runs every arm over all tasks; `machine` may differ by the name of the arm.

    Returns:
        A document like that of `interleave-rt bench`, without what only a real run has.

    Example:
        >>> times = Times(generate=Latency((60.0,)))  # doctest: +SKIP
        >>> tasks = draw_tasks(times, 100, 0, steps=(5, 5), t_max=5, accept=(0.8,))  # doctest: +SKIP
        >>> simulate(machine, tasks, Load(), [ARMS["speculative"]])  # doctest: +SKIP
    """
    if not arms:
        raise BadRequestError("[simulate] no arm is left", hint="name at least one of the arms")
    reports = {
        arm.name: _run(machine(arm.name) if callable(machine) else machine, tasks, load, arm) for arm in arms
    }
    ahead = next((arm for arm in arms if arm.speculation != "off"), None)
    return {
        "format_version": FORMAT_VERSION,
        "scenario": {
            "name": load.scenario,
            "target": "simulated",
            "requests": len(tasks.steps),
            "concurrency": _concurrency(load),
            "request_rate": load.request_rate if load.scenario == "server" else None,
            "burstiness": load.burstiness if load.scenario == "server" else None,
            "seed": load.seed,
            "slo_ms": dict(load.slo_ms),
        },
        "arms": {name: _arm(report, load) for name, report in reports.items()},
        "speedup": _speedups(reports),
        "speculation": None if ahead is None else _speculation(ahead, reports[ahead.name], load),
    }


def _concurrency(load: Load) -> int | None:
    return {"single-stream": 1, "closed-loop": load.concurrency}.get(load.scenario)


def _run(machine: Machine, tasks: Tasks, load: Load, arm: Arm) -> _core.SimReport:
    core = _core.SimLoad()
    (machine if arm.batching else machine.unbatched()).apply(core)
    mode, depth = Options(speculation=arm.speculation).speculation_depth()
    core.speculation_mode, core.speculation_depth = getattr(_core.SpeculationMode, mode), max(1, depth)
    core.set_devices(arm.streaming, arm.streaming, arm.streaming)
    count = len(tasks.steps)
    concurrency = _concurrency(load) or 0
    core.set_limits(max(load.max_live, concurrency), count if load.max_queued is None else load.max_queued)
    core.seed, core.judge_last, core.cancel_parts = load.seed, load.judge_last, tasks.denoising_steps
    core.concurrency = concurrency
    if not concurrency:
        rate = load.request_rate if load.scenario == "server" else math.inf
        core.arrivals = [round(1000 * at) for at in arrivals_ms(count, rate, load.burstiness, load.seed)]
    try:
        report = _core.simulate_load(core, tasks.core(arm.name))
    except _core.CoreError as error:
        raise BadRequestError(str(error.args[1])) from None
    if not report.complete:
        raise InterleaveError("[simulate] the simulation did not come to its end: take fewer requests")
    return report


def _describe(values: Iterable[float], percentiles: Sequence[float]) -> dict[str, float | None]:
    found = np.fromiter(values, dtype=float)
    names = [f"p{percentile:g}" for percentile in percentiles]
    if not found.size:
        return dict.fromkeys(["mean", *names])
    cuts = np.atleast_1d(np.percentile(found, list(percentiles)))
    return {
        "mean": round(float(found.mean()), 4),
        **{n: round(float(c), 4) for n, c in zip(names, cuts, strict=True)},
    }


def _e2e(report: _core.SimReport) -> dict[int, float]:
    """Latency in milliseconds by request; refused ones have none."""
    return {
        index: (r.ended_us - r.submitted_us) / 1000
        for index, r in enumerate(report.requests)
        if not r.refused
    }


def _arm(report: _core.SimReport, load: Load) -> dict[str, Any]:
    cuts = load.percentiles
    ended = [request for request in report.requests if not request.refused]
    wall_s = report.ended_us / 1e6
    steps = sum(request.steps for request in ended)
    first = [(r.images_us[0] - r.submitted_us) / 1000 for r in ended if r.images_us]
    gaps = [(b - a) / 1000 for r in ended for a, b in zip(r.images_us, r.images_us[1:], strict=False)]
    good = [
        request
        for request in ended
        if (request.ended_us - request.submitted_us) / 1000 <= load.slo_ms.get("e2e", math.inf)
        and ((request.images_us or [request.ended_us])[0] - request.submitted_us) / 1000
        <= load.slo_ms.get("ttfi", math.inf)
    ]
    return {
        "e2e_latency_ms": _describe(_e2e(report).values(), cuts),
        "ttfi_ms": _describe(first, cuts),
        "time_per_step_ms": _describe(((r.ended_us - r.submitted_us) / 1000 / r.steps for r in ended), cuts),
        "inter_image_latency_ms": _describe(gaps, cuts),
        "time_to_verdict_ms": _describe(_verdict_ms(report), cuts),
        "request_throughput": _rate(len(ended), wall_s),
        "steps_per_s": _rate(steps, wall_s),
        "goodput": _rate(len(good), wall_s) if load.slo_ms else None,
        "slo_attained": round(len(good) / len(report.requests), 4) if load.slo_ms else None,
        "completed": len(ended),
        "failed": 0,
        "refused": len(report.requests) - len(ended),
        "steps": steps,
        "wall_s": round(wall_s, 4),
        "stages": _stages(report),
        "overlap_ratio": _overlap(report),
        "waste": _waste(report),
        "events": report.events,
    }


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 4) if seconds > 0 else None


def _verdict_ms(report: _core.SimReport) -> list[float]:
    """From an image to what the critic said of it, of the attempts that count."""
    made = {(c.task, c.step, c.attempt): c.ended_us for c in report.calls if c.role == 1 and c.used}
    return [
        (call.ended_us - made[call.task, call.step, call.attempt]) / 1000
        for call in report.calls
        if call.role == 2 and call.used and (call.task, call.step, call.attempt) in made
    ]


def _stages(report: _core.SimReport) -> dict[str, Any]:
    stages = {}
    for index, role in enumerate(ROLES):
        took = [c.ended_us - c.started_us for c in report.calls if c.role == index and not c.cancelled]
        stages[role] = {
            "ms": round(sum(took) / len(took) / 1000, 4) if took else None,
            "busy": round(report.busy_us[index] / report.ended_us, 4) if report.ended_us else None,
            "calls": sum(call.role == index for call in report.calls),
        }
    return stages


def _overlap(report: _core.SimReport) -> float | None:
    busy = sum(report.busy_us)
    return round(1.0 - report.ended_us / busy, 4) if busy else None


def _waste(report: _core.SimReport) -> dict[str, float]:
    """Time of calls whose results nobody used, and its share of all call time, by role."""
    found = {}
    for index, role in enumerate(ROLES):
        calls = [call for call in report.calls if call.role == index]
        lost = sum(call.ended_us - call.started_us for call in calls if not call.used)
        total = sum(call.ended_us - call.started_us for call in calls)
        found[f"{role}_ms"] = round(lost / 1000, 3)
        found[f"{role}_share"] = round(lost / total, 4) if total else 0.0
    return found


def _speedups(reports: Mapping[str, _core.SimReport]) -> dict[str, Any]:
    """How many times as fast the later arm is on the requests that both finished, and its throughput."""
    pairs = {}
    for one, two in combinations(reports, 2):
        a, b = _e2e(reports[one]), _e2e(reports[two])
        key = f"{two.replace('-', '_')}_vs_{one.replace('-', '_')}"
        both = sorted(a.keys() & b.keys())
        x, y = np.array([a[index] for index in both]), np.array([b[index] for index in both])
        spans = reports[one].ended_us, reports[two].ended_us
        pairs[key] = {
            "ratio": round(float(x.mean() / y.mean()), 4) if both else None,
            "median": round(float(np.median(x / y)), 4) if both else None,
            "throughput": round(len(b) / len(a) * spans[0] / spans[1], 4) if a else None,
            "pairs": len(both),
        }
    return pairs


def _speculation(arm: Arm, report: _core.SimReport, load: Load) -> dict[str, Any]:
    ahead = [call for call in report.calls if call.speculative]
    used = sum(call.used for call in ahead)
    lost = sum(call.ended_us - call.started_us for call in ahead if not call.used) / 1000
    total = sum(call.ended_us - call.started_us for call in report.calls) / 1000
    stopped = [(call.ended_us - call.cancel_us) / 1000 for call in report.calls if call.cancel_us >= 0]
    rates = {
        str(t): round(yes / said, 4)
        for t, (said, yes) in enumerate(zip(report.judged, report.accepted, strict=True))
        if said
    }
    return {
        "arm": arm.name,
        "setting": arm.speculation,
        "speculated": len(ahead),
        "committed": used,
        "discarded": len(ahead) - used,
        "wasted_ms": round(lost, 3),
        "wasted_share": round(lost / total, 4) if total else None,
        "accept_rate_by_attempt": rates,
        "overlap_ratio": _overlap(report),
        "cancel_latency_ms": {**_describe(stopped, load.percentiles), "count": len(stopped)},
    }
