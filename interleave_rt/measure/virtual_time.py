"""The arms over the same requests in virtual time: the real scheduler, made-up calls, the records of a benchmark."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interleave_rt import _core
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options

from .arms import Arm
from .document import document, speedups
from .load import Load
from .machine import Machine
from .record import CallRecord, RequestRecord, Turn
from .tasks import Tasks


def simulate(
    machine: Machine | Callable[[str], Machine], tasks: Tasks, load: Load, arms: Sequence[Arm]
) -> dict[str, Any]:
    """Runs every arm over all tasks; `machine` may differ by the name of the arm.

    Returns:
        A document like that of `interleave-rt bench`, without what only a real run has.

    Example:
        >>> times = Times(generate=60.0)  # doctest: +SKIP
        >>> tasks = draw_tasks(times, 100, 0, steps=(5, 5), t_max=5, accept=(0.8,))  # doctest: +SKIP
        >>> simulate(machine, tasks, Load(), [ARMS["speculative"]])  # doctest: +SKIP
    """
    if not arms:
        raise BadRequestError("no arm is left", hint="name at least one of the arms")
    turns, events, rates = {}, {}, {}
    for arm in arms:
        report = run_virtual(machine(arm.name) if callable(machine) else machine, tasks, load, arm)
        turns[arm.name] = [turn_of(arm.name, report)]
        events[arm.name], rates[arm.name] = report["events"], _accept_rates(report)
    made = document(load, "simulated", arms, turns)
    for name, arm in made["arms"].items():
        arm["events"] = events[name]
    if made["speculation"]:
        made["speculation"]["accept_rate_by_attempt"] = rates[made["speculation"]["arm"]]
    made["speedup"] = speedups(turns, by_request=True, intervals=False)
    return made


def run_virtual(machine: Machine, tasks: Tasks, load: Load, arm: Arm) -> dict[str, Any]:
    """One arm over all tasks: what `_core.simulate_load` tells of them, times in microseconds.

    Raises:
        BadRequestError: The core refuses the load.
    """
    mode, depth = Options(speculation=arm.speculation).speculation_depth()
    count, under_way = len(tasks.steps), load.under_way or 0
    core = {
        **(machine if arm.batching else machine.unbatched()).core(),
        "speculation": mode,
        "depth": max(1, depth),
        # The others change the work of calls, not the schedule: see `Tasks.of`.
        "stream_plan": arm.optimizations.stream_plan,
        "early_verdict": arm.optimizations.early_verdict,
        "skip_last_judge": arm.optimizations.skip_last_judge,
        "max_live": max(load.max_live, under_way),
        "max_queued": count if load.max_queued is None else load.max_queued,
        "seed": load.seed,
        "cancel_parts": tasks.denoising_steps,
        "concurrency": under_way,
        "arrivals": [] if under_way else load.arrivals_us(count),
    }
    try:
        report = _core.simulate_load(core, tasks.core(arm.name))
    except _core.CoreError as error:
        raise BadRequestError(str(error.args[1])) from None
    if not report["complete"]:
        raise InterleaveError("[simulate] the simulation did not come to its end: take fewer requests")
    return report


def turn_of(arm: str, report: Mapping[str, Any]) -> Turn:
    """The records of a run, as a benchmark writes them."""
    records = [_record(index, request) for index, request in enumerate(report["requests"])]
    images: dict[tuple[int, int, int], float] = {}
    for raw in report["calls"]:
        call = _call(raw)
        record = records[call.request]
        record.calls.append(call)
        place = (call.request, call.step, call.attempt)
        if call.used and call.role == "generator":
            images[place] = call.end
        elif call.used and call.role == "critic" and place in images:
            record.verdict_s.append(call.end - images[place])
    return Turn(arm, 0, records, report["ended_us"] / 1e6)


def _record(index: int, request: Mapping[str, Any]) -> RequestRecord:
    if request["refused"]:
        return RequestRecord(index, "overloaded")
    start, images = request["submitted_us"], request["images_us"]
    return RequestRecord(
        index,
        "finished",
        submitted=start / 1e6,
        ended=request["ended_us"] / 1e6,
        e2e_s=(request["ended_us"] - start) / 1e6,
        ttfi_s=(images[0] - start) / 1e6 if images else None,
        image_gaps_s=[(b - a) / 1e6 for a, b in itertools.pairwise(images)],
        steps=request["steps"],
    )


def _call(raw: Mapping[str, Any]) -> CallRecord:
    start, end = raw["started_us"] / 1e6, raw["ended_us"] / 1e6
    return CallRecord(
        raw["task"],
        raw["role"],
        raw["step"],
        raw["attempt"],
        0,
        queued=start,
        start=start,
        end=end,
        speculative=raw["speculative"],
        used=raw["used"],
        done=not raw["cancelled"],
        served=not raw["cancelled"],
        cancel_s=(raw["ended_us"] - raw["cancel_us"]) / 1e6 if raw["cancel_us"] >= 0 else None,
    )


def _accept_rates(report: Mapping[str, Any]) -> dict[str, float]:
    """By attempt, of the verdicts that readers were told; the calls of a report do not say what they answered."""
    judged = enumerate(zip(report["judged"], report["accepted"], strict=True))
    return {str(attempt): round(yes / said, 4) for attempt, (said, yes) in judged if said}
