"""The arms over the same requests in virtual time: the real scheduler, made-up calls, the records of a benchmark.

`SimulationConfig` is all that a simulation is told, as the command line says it; its `run` makes the document.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from interleave_rt import _core
from interleave_rt.checks import one_of, within
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options

from .arms import ARMS, Arm, parse_arms
from .calibration import load_calibration
from .document import document, speedups
from .load import Load, parse_numbers, parse_percentiles, parse_slo
from .machine import Lane, Machine, pair_rates, preset
from .record import ROLES, CallRecord, RequestRecord, Turn
from .tasks import MAX_DENOISING, Tasks, Times, draw_tasks, parse_steps

REQUESTS = 500
_TIMES = ("planner_ms", "first_step_ms", "generator_ms", "first_image_ms", "critic_ms", "verdict_ms")
_SHARED = ("critic_slowdown", "generator_rate")
_DEVICES = ("lanes", "slots", *_SHARED)
_PRESET = ("cards", "decode_sms")
_DRAWN = ("jitter", "steps", "t_max", "accept_prob")


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """The options of `interleave-rt simulate`; see its help."""

    calibration: Path | None = None
    preset: str | None = None
    cards: int = 2
    decode_sms: float = 0.02
    planner_ms: float = 160.0
    first_step_ms: float = 40.0
    generator_ms: float = 60.0
    first_image_ms: float | None = None
    denoising_steps: int | None = None
    critic_ms: float = 60.0
    verdict_ms: float = 40.0
    jitter: float = 0.0
    lanes: str = "separate"
    critic_slowdown: float = 1.09
    generator_rate: float = 0.98
    slots: int = 4
    steps: str = "5"
    t_max: int = 5
    accept_prob: str = "0.8"
    scenario: str = "single-stream"
    concurrency: int | None = None
    request_rate: float | None = None
    burstiness: float = 1.0
    num_requests: int | None = None
    max_live: int = 8
    max_queued: int | None = None
    seed: int = 0
    arms: str = ",".join(ARMS)
    depth: int | None = None
    slo: str = ""
    percentiles: str = "50,90,95,99"

    def run(self) -> dict[str, Any]:
        """Simulates and says what from.

        Raises:
            BadRequestError: Something in the options cannot be, or an option is given that nothing reads.
        """
        check_read([self])
        return self.document()

    def document(self) -> dict[str, Any]:
        """`run` without `check_read`."""
        machine, tasks, note = self._world()
        arms = parse_arms(self.arms, "auto" if self.depth is None else f"depth={self.depth}")
        source = {
            "note": note,
            "preset": self.preset,
            "calibration": None if self.calibration is None else str(self.calibration),
        }
        return {**simulate(machine, tasks, self.load(), arms), "source": source}

    def generator_capacity(self) -> float:
        """Requests a second that the generator could make if it did nothing in vain and never waited."""
        machine, tasks, _ = self._world()
        work = tasks.generator_ms("speculative")
        lane = machine("speculative").lanes["generator"]
        together = max(b / lane.batching[min(b, len(lane.batching)) - 1] for b in range(1, lane.capacity + 1))
        return 1000 * len(tasks.steps) * together / work if work > 0 else math.inf

    def load(self) -> Load:
        """How requests come in: `concurrency` or `request_rate` decide about the scenario where it is the default."""
        scenario: Any = self.scenario
        if self.concurrency is not None and self.request_rate is not None:
            raise BadRequestError(
                "--concurrency and --request-rate are given together: one of them is the load"
            )
        if self.request_rate is not None:
            if not 0 < self.request_rate < math.inf:
                raise BadRequestError(
                    f"--request-rate is {self.request_rate}: a number above 0 is wanted",
                    hint="all requests at once: --scenario offline",
                )
            if scenario not in ("single-stream", "server"):
                raise BadRequestError(
                    f"--scenario {scenario} has no --request-rate: leave out one of the two"
                )
            scenario = "server"
        elif scenario == "server":
            raise BadRequestError("--scenario server has no --request-rate: say how many requests a second")
        elif self.concurrency is not None and scenario == "offline":
            raise BadRequestError("--scenario offline has no --concurrency: leave out one of the two")
        elif self.concurrency is not None and self.concurrency > 1:
            scenario = "closed-loop"
        return Load(
            scenario,
            concurrency=1 if self.concurrency is None else self.concurrency,
            request_rate=math.inf if self.request_rate is None else self.request_rate,
            burstiness=self.burstiness,
            max_live=self.max_live,
            max_queued=self.max_queued,
            seed=self.seed,
            percentiles=parse_percentiles(self.percentiles),
            slo_ms=parse_slo(self.slo),
        )

    def unread(self) -> dict[str, str]:
        """The options that nothing reads beside the others, and what they would need."""
        found: dict[str, str] = {}
        if self.calibration is not None:
            names = (*_TIMES, *_DEVICES, *_PRESET, *_DRAWN)
            found |= dict.fromkeys(names, "--calibration has its own: leave out one of the two")
        elif self.preset is not None:
            found |= dict.fromkeys((*_TIMES, *_DEVICES), "--preset has its own: leave out one of the two")
            if self.cards == 2:
                found["decode_sms"] = "it is of one card: add --cards 1"
        else:
            found |= dict.fromkeys(_PRESET, "it is of a preset: add --preset NAME")
            if self.lanes == "separate":
                found |= dict.fromkeys(_SHARED, "it is of a shared device: add --lanes shared")
        if self.request_rate is None and self.scenario != "server":
            found["burstiness"] = "it is of a server: add --request-rate"
        if "speculative" not in self.arms.split(","):
            found["depth"] = "it is of the arm speculative: add it to --arms"
        return found

    def _world(self) -> tuple[Callable[[str], Machine], Tasks, str]:
        if self.denoising_steps is not None:
            within("--denoising-steps", self.denoising_steps, 1, MAX_DENOISING)
        if self.calibration is not None:
            found = load_calibration(self.calibration)
            tasks = found.tasks(self.num_requests)
            if self.denoising_steps is not None:
                tasks = replace(tasks, denoising_steps=self.denoising_steps)
            return found.machine, tasks, found.note()
        if self.preset is not None:
            times, machine, note = preset(self.preset, self.cards, self.decode_sms)
        else:
            times, machine, note = self._times(), self._machine(), f"times as given, {self.lanes} devices"
        if self.denoising_steps is not None:
            times = replace(times, denoising_steps=self.denoising_steps)
        tasks = draw_tasks(
            replace(times, jitter=self.jitter),
            REQUESTS if self.num_requests is None else self.num_requests,
            self.seed,
            steps=parse_steps(self.steps),
            t_max=self.t_max,
            accept=parse_numbers("--accept-prob", self.accept_prob, 1, "0.8, or one an attempt: 0.7,0.5"),
        )
        return lambda _arm: machine, tasks, note

    def _times(self) -> Times:
        if not 0 <= self.verdict_ms <= self.critic_ms:
            raise BadRequestError(
                f"--verdict-ms is {self.verdict_ms}, --critic-ms is {self.critic_ms}: the boolean comes first"
            )
        steps, rest = parse_steps(self.steps)[1], self.planner_ms - self.first_step_ms
        if not 0 <= self.first_step_ms <= self.planner_ms:
            raise BadRequestError(
                f"--first-step-ms is {self.first_step_ms}, --planner-ms is {self.planner_ms}: the first step lies within"
            )
        return Times(
            plan_first=self.first_step_ms,
            plan_step=rest / (steps - 1) if steps > 1 else 0.0,
            plan_tail=rest if steps == 1 else 0.0,
            generate_first=self.generator_ms if self.first_image_ms is None else self.first_image_ms,
            generate=self.generator_ms,
            verdict=self.verdict_ms,
            verdict_tail=self.critic_ms - self.verdict_ms,
        )

    def _machine(self) -> Machine:
        one_of("--lanes", self.lanes, ("separate", "shared"))
        shared = self.lanes == "shared"
        slots = {"planner": self.slots, "generator": 1, "critic": self.slots}
        lanes = {role: Lane(slots[role], "shared" if shared else role) for role in ROLES}
        rates = {"shared": pair_rates(self.critic_slowdown, self.generator_rate)} if shared else {}
        return Machine(lanes, rates)


def check_read(points: Sequence[SimulationConfig], swept: Mapping[str, str] | None = None) -> None:
    """Refuses what is given or swept and read at none of the points.

    Args:
        points: What is run.
        swept: Names of axes by the fields that they change.
    """
    axes = swept or {}
    first = points[0]
    if first.calibration is not None and first.preset is not None:
        raise BadRequestError(
            "--calibration and --preset are given together", hint="both say how long calls take: give one"
        )
    unread = [one.unread() for one in points]
    for option in fields(SimulationConfig):
        given = option.name in axes or getattr(first, option.name) != option.default
        if given and all(option.name in one for one in unread):
            name = f"--sweep {axes[option.name]}" if option.name in axes else flag(option.name)
            raise BadRequestError(f"{name} changes nothing here", hint=unread[0][option.name])


def flag(field: str) -> str:
    """The option of a field."""
    return "--" + field.replace("_", "-")


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
