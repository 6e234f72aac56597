"""All that a simulation is told, as the command line says it; `run` makes the document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from interleave_rt.checks import one_of
from interleave_rt.errors import BadRequestError

from .arms import ARMS, parse_arms
from .calibration import load_calibration
from .load import Load, parse_numbers, parse_percentiles, parse_slo
from .machine import Lane, Machine, pair_rates
from .presets import preset
from .record import ROLES
from .tasks import Tasks, Times, check_denoising_steps, draw_tasks, parse_steps
from .virtual_time import simulate

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
            check_denoising_steps(self.denoising_steps)
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
