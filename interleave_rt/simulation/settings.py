"""All that a simulation is told, as the command line says it; `run` makes the document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError

from .machine import ROLES, Lane, Machine, pair_rates
from .model import Latency, Times, fixed_plan, parse_probabilities
from .presets import preset
from .run import ARMS, Load, arm_of, simulate
from .workload import MAX_STEPS, Tasks, draw_tasks

__all__ = ["Settings", "check_read"]

REQUESTS = 500
_TIMES = ("planner_ms", "first_step_ms", "generator_ms", "first_image_ms", "critic_ms", "verdict_ms")
_SHARED = ("critic_slowdown", "generator_rate")
_DEVICES = ("lanes", "slots", *_SHARED)
_PRESET = ("cards", "decode_sms")
_DRAWN = ("jitter", "steps", "t_max", "accept_prob")


@dataclass(frozen=True, slots=True)
class Settings:
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
    arms: tuple[str, ...] = tuple(ARMS)
    depth: int | None = None
    slo: str = ""
    percentiles: str = "50,90,95,99"

    def run(self) -> dict[str, Any]:
        """Simulates and says what from.

        Raises:
            BadRequestError: Something in the settings cannot be, or an option is given that nothing reads.
        """
        check_read([self])
        return self.document()

    def document(self) -> dict[str, Any]:
        """`run` without `check_read`."""
        machine, tasks, note = self._world()
        arms = [arm_of(name) for name in self.arms]
        if self.depth is not None:
            arms = [
                replace(arm, speculation=f"depth={self.depth}") if arm.speculation == "auto" else arm
                for arm in arms
            ]
        document = simulate(machine, tasks, self._load(), arms)
        source = {
            "note": note,
            "preset": self.preset,
            "calibration": None if self.calibration is None else str(self.calibration),
        }
        return {**document, "source": source}

    def generator_capacity(self) -> float:
        """Requests a second that the generator could make if it did nothing in vain and never waited."""
        machine, tasks, _ = self._world()
        work = 0.0
        plain = tasks.of("speculative")
        for _, _, steps, t_max in plain:
            for step in steps:
                for t in range(t_max if step else 0):
                    generate, _, _, says = step[min(t, len(step) - 1)]
                    work += generate
                    if says:
                        break
        lane = machine("speculative").lanes["generator"]
        together = max(b / lane.batching[min(b, len(lane.batching)) - 1] for b in range(1, lane.capacity + 1))
        return 1000 * len(plain) * together / work if work > 0 else math.inf

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
        if "speculative" not in self.arms:
            found["depth"] = "it is of the arm speculative: add it to --arms"
        return found

    def _world(self) -> tuple[Callable[[str], Machine], Tasks, str]:
        if self.denoising_steps is not None and not 1 <= self.denoising_steps <= 1000:
            raise BadRequestError(
                f"[simulate] --denoising-steps is {self.denoising_steps}: 1 to 1000 are possible"
            )
        if self.calibration is not None:
            from .calibration import load_calibration

            found = load_calibration(self.calibration)
            tasks = found.tasks(self.num_requests)
            if self.denoising_steps is not None:
                tasks = replace(tasks, denoising_steps=self.denoising_steps)
            return found.machine, tasks, found.note()
        times, machine, note = self._model()
        tasks = draw_tasks(
            times.jittered(self.jitter) if self.jitter else times,
            REQUESTS if self.num_requests is None else self.num_requests,
            self.seed,
            steps=_steps(self.steps),
            t_max=self.t_max,
            accept=parse_probabilities(self.accept_prob),
        )
        return lambda _arm: machine, tasks, note

    def _model(self) -> tuple[Times, Machine, str]:
        if self.preset is not None:
            found = preset(self.preset, self.cards, self.decode_sms)
            times = found.times
            if self.denoising_steps is not None:
                times = replace(times, denoising_steps=self.denoising_steps)
            return times, found.machine, found.note
        if not 0 <= self.verdict_ms <= self.critic_ms:
            raise BadRequestError(
                f"--verdict-ms is {self.verdict_ms}, --critic-ms is {self.critic_ms}: the boolean comes first"
            )
        first, each, tail = fixed_plan(self.first_step_ms, self.planner_ms, _steps(self.steps)[1])
        first_image = self.generator_ms if self.first_image_ms is None else self.first_image_ms
        times = Times(
            plan_first=first,
            plan_step=each,
            plan_tail=tail,
            generate_first=Latency((first_image,)),
            generate=Latency((self.generator_ms,)),
            verdict=Latency((self.verdict_ms,)),
            verdict_tail=Latency((self.critic_ms - self.verdict_ms,)),
            denoising_steps=4 if self.denoising_steps is None else self.denoising_steps,
        )
        return times, self._machine(), f"times as given, {self.lanes} devices"

    def _machine(self) -> Machine:
        if self.lanes not in ("separate", "shared"):
            raise BadRequestError(f"--lanes is {self.lanes!r}", hint="it is separate or shared")
        shared = self.lanes == "shared"
        slots = {"planner": self.slots, "generator": 1, "critic": self.slots}
        lanes = {role: Lane(slots[role], "shared" if shared else role) for role in ROLES}
        rates = {"shared": pair_rates(self.critic_slowdown, self.generator_rate)} if shared else {}
        return Machine(lanes, rates)

    def _load(self) -> Load:
        scenario = self.scenario
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
            scenario=scenario,  # type: ignore[arg-type]  # looked at by Load
            concurrency=1 if self.concurrency is None else self.concurrency,
            request_rate=math.inf if self.request_rate is None else self.request_rate,
            burstiness=self.burstiness,
            max_live=self.max_live,
            max_queued=self.max_queued,
            seed=self.seed,
            percentiles=_percentiles(self.percentiles),
            slo_ms=_slo(self.slo),
        )


def check_read(points: Sequence[Settings], swept: Mapping[str, str] | None = None) -> None:
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
    for option in fields(Settings):
        given = option.name in axes or getattr(first, option.name) != option.default
        if given and all(option.name in one for one in unread):
            name = f"--sweep {axes[option.name]}" if option.name in axes else _flag(option.name)
            raise BadRequestError(f"{name} changes nothing here", hint=unread[0][option.name])


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _steps(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        found = int(low), int(high or low)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1] <= MAX_STEPS:
        raise BadRequestError(
            f"--steps is {text!r}", hint=f"a number from 1 to {MAX_STEPS}, or a range of them: 3-6"
        )
    return found


def _percentiles(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= value <= 100 for value in found):
        raise BadRequestError(f"--percentiles is {text!r}", hint="numbers from 0 to 100: 50,90,99")
    return found


def _slo(text: str) -> Mapping[str, float]:
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition(":")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise BadRequestError(f"--slo is {text!r}", hint="milliseconds by name: e2e:2000,ttfi:500")
        limits[name.strip()] = limit
    return limits
