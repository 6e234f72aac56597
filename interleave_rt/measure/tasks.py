"""What is simulated: how long calls take, and requests whose calls and answers are drawn from that by counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import Any

import numpy as np

from interleave_rt.errors import BadRequestError

from .load import check_seed, parse_numbers, within

__all__ = ["MAX_MS", "Latency", "Task", "Tasks", "Times", "draw_tasks", "fixed_plan", "parse_probabilities"]

_NORMAL = NormalDist()
MAX_MS = 1e9
REFUSED, ACCEPTED, UNREADABLE = 0, 1, 2
MAX_STEPS, MAX_TRIES, PLAN_DRAWS = 25, 10, 2

# Work of one request in milliseconds: plan, closes, steps of (generate, verdict, judge, says), t_max.
Task = tuple[float, list[float], list[list[tuple[float, float, float, int]]], int]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of a call that is alone: one value is fixed, several are a measured sample.

    A draw is a function of two uniform numbers, which come from counters: every arm and every point of a sweep sees
    the same calls.

    Args:
        values: The sample.
        sigma: Of lognormal jitter with mean 1.

    Example:
        >>> Latency((60.0,)).draw(0.3, 0.5)
        60.0
    """

    values: tuple[float, ...]
    sigma: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values or not all(0 <= value <= MAX_MS for value in self.values):
            raise BadRequestError(
                f"[Latency] {self.values!r}: give at least one time, all of them from 0 to {MAX_MS:g} ms"
            )
        within("[Latency] sigma", self.sigma, 0, 2)

    @property
    def mean(self) -> float:
        """The mean in milliseconds."""
        return sum(self.values) / len(self.values)

    def draw(self, which: float, jitter: float) -> float:
        """A latency for two numbers from 0 to 1."""
        value = self.values[min(int(which * len(self.values)), len(self.values) - 1)]
        if self.sigma == 0.0:
            return value
        normal = _NORMAL.inv_cdf(min(max(jitter, 1e-12), 1 - 1e-12))
        return value * math.exp(self.sigma * normal - self.sigma**2 / 2)


def _fixed(value: float) -> Latency:
    return Latency((value,))


@dataclass(frozen=True, slots=True)
class Times:
    """What the three roles take, in milliseconds.

    Args:
        plan_first: Until the plan's first step has closed.
        plan_step: Each further step.
        plan_tail: After the last step, until the planner stops.
        generate_first: An image from a text alone: step 1.
        generate: An image from a text and the image before it.
        denoising_steps: Of a generator call; a cancelled one ends with the step that it is in.
        verdict: Of the critic until its boolean is known.
        verdict_tail: From there to the end of the answer (a refusal's new prompt).
    """

    plan_first: Latency = field(default_factory=lambda: _fixed(50.0))
    plan_step: Latency = field(default_factory=lambda: _fixed(30.0))
    plan_tail: Latency = field(default_factory=lambda: _fixed(0.0))
    generate_first: Latency = field(default_factory=lambda: _fixed(100.0))
    generate: Latency = field(default_factory=lambda: _fixed(100.0))
    verdict: Latency = field(default_factory=lambda: _fixed(40.0))
    verdict_tail: Latency = field(default_factory=lambda: _fixed(40.0))
    denoising_steps: int = 4

    def __post_init__(self) -> None:
        check_denoising_steps(self.denoising_steps)

    def jittered(self, sigma: float) -> Times:
        """The same with lognormal jitter on every latency."""
        changed = {
            one.name: Latency(value.values, sigma)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), Latency)
        }
        return Times(**changed, denoising_steps=self.denoising_steps)


def check_denoising_steps(count: int) -> None:
    """Raises `BadRequestError` where an image cannot have so many."""
    within("--denoising-steps", count, 1, 1000)


def fixed_plan(first_ms: float, whole_ms: float, steps: int) -> tuple[Latency, Latency, Latency]:
    """First step, further step and tail of a plan whose steps close evenly until its end."""
    if not 0 <= first_ms <= whole_ms:
        raise BadRequestError(
            f"[Times] the first step closes at {first_ms} ms of a plan of {whole_ms} ms: it has to lie within"
        )
    each = (whole_ms - first_ms) / (steps - 1) if steps > 1 else 0.0
    return _fixed(first_ms), _fixed(each), _fixed(whole_ms - first_ms if steps == 1 else 0.0)


def parse_probabilities(text: str) -> Sequence[float]:
    """Reads `0.8`, or one number an attempt: `0.7,0.5,0.5`; the last one holds for all beyond."""
    return parse_numbers("--accept-prob", text, 1, "0.8, or one an attempt: 0.7,0.5")


def parse_steps(text: str) -> tuple[int, int]:
    """Reads `5`, or a range: `3-6`."""
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


@dataclass(frozen=True, slots=True)
class Tasks:
    """Requests for each arm; equal places are the same request.

    Args:
        of: The tasks of an arm by its name.
        steps: Of each request, text-only ones included.
        denoising_steps: Parts of a generator call.
    """

    of: Callable[[str], Sequence[Task]]
    steps: Sequence[int]
    denoising_steps: int = 4

    def core(self, arm: str) -> list[dict[str, Any]]:
        """For the core, in microseconds."""

        def attempt(generate: float, verdict: float, judge: float, says: int) -> dict[str, Any]:
            work = {
                "generate": 1000 * generate,
                "verdict": 1000 * verdict,
                "judge": 1000 * max(verdict, judge),
            }
            return {**work, "says": ("refused", "accepted", "unreadable")[says]}

        return [
            {
                "plan": 1000 * plan,
                "closes": [1000 * at for at in closes],
                "steps": [[attempt(*each) for each in step] for step in steps],
                "t_max": t_max,
            }
            for plan, closes, steps, t_max in self.of(arm)
        ]

    def generator_ms(self, arm: str) -> float:
        """What the images of all requests take, one after the other and none in vain."""
        work = 0.0
        for _, _, steps, t_max in self.of(arm):
            for step in steps:
                for attempt in range(t_max if step else 0):
                    generate, _, _, says = step[min(attempt, len(step) - 1)]
                    work += generate
                    if says:
                        break
        return work


def check_count(count: int) -> None:
    """Raises `BadRequestError` where nothing would be run."""
    within("--num-requests", count, 1)


def draw_tasks(
    times: Times, count: int, seed: int, *, steps: tuple[int, int], t_max: int, accept: Sequence[float]
) -> Tasks:
    """Requests from the latency models; the request's number and the seed are the only sources of chance.

    Args:
        times: Of the calls.
        count: Requests.
        seed: Equal seeds give equal calls.
        steps: The least and the most of a plan.
        t_max: Tries of a step.
        accept: Probability that the critic accepts by attempt; the last one holds for all beyond.
    """
    check_seed(seed)
    check_count(count)
    within("--t-max", t_max, 1, MAX_TRIES)
    tasks = [_draw(times, seed, index, steps, t_max, accept) for index in range(count)]
    return Tasks(lambda _arm: tasks, [len(task[2]) for task in tasks], times.denoising_steps)


def _draw(
    times: Times, seed: int, index: int, steps: tuple[int, int], t_max: int, accept: Sequence[float]
) -> Task:
    # Counter-based, and always the same count of numbers: a change of p or N leaves all other draws alone.
    source = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))
    plan = source.random((MAX_STEPS + 2, PLAN_DRAWS)).tolist()
    tries = source.random((MAX_STEPS, MAX_TRIES, 7)).tolist()
    count = steps[0] + int(plan[MAX_STEPS + 1][0] * (steps[1] - steps[0] + 1))
    closes, at = [], 0.0
    for step in range(count):
        at += (times.plan_step if step else times.plan_first).draw(*plan[step])
        closes.append(at)
    whole = at + times.plan_tail.draw(*plan[MAX_STEPS])
    made = []
    for step in range(count):
        generate = times.generate if step else times.generate_first
        row = []
        for attempt in range(t_max):
            u = tries[step][attempt]
            verdict = times.verdict.draw(u[2], u[3])
            judge = verdict + times.verdict_tail.draw(u[4], u[5])
            says = ACCEPTED if u[6] < accept[min(attempt, len(accept) - 1)] else REFUSED
            row.append((generate.draw(u[0], u[1]), verdict, judge, says))
        made.append(row)
    return whole, closes, made, t_max
