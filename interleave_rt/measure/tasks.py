"""What is simulated: how long calls take, and requests whose calls and answers are drawn from that by counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np

from interleave_rt.checks import within
from interleave_rt.errors import BadRequestError

from .load import MAX_REQUESTS, check_seed

_NORMAL = NormalDist()
MAX_MS = 1e9
REFUSED, ACCEPTED, UNREADABLE = 0, 1, 2
MAX_DENOISING = 1000
MAX_STEPS, MAX_TRIES, PLAN_DRAWS = 25, 10, 2

# Work of one request in milliseconds: plan, closes, steps of (generate, verdict, judge, says), t_max.
Task = tuple[float, list[float], list[list[tuple[float, float, float, int]]], int]


@dataclass(frozen=True, slots=True)
class Times:
    """What the three roles take, in milliseconds of a call that is alone.

    Args:
        plan_first: Until the plan's first step has closed.
        plan_step: Each further step.
        plan_tail: After the last step, until the planner stops.
        generate_first: An image from a text alone: step 1.
        generate: An image from a text and the image before it.
        verdict: Of the critic until its boolean is known.
        verdict_tail: From there to the end of the answer (a refusal's new prompt).
        denoising_steps: Of a generator call; a cancelled one ends with the step that it is in.
        jitter: Sigma of a lognormal factor of every time; its mean is 1.
    """

    plan_first: float = 50.0
    plan_step: float = 30.0
    plan_tail: float = 0.0
    generate_first: float = 100.0
    generate: float = 100.0
    verdict: float = 40.0
    verdict_tail: float = 40.0
    denoising_steps: int = 4
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name not in ("denoising_steps", "jitter"):
                within(f"[Times] {each.name}, ms,", getattr(self, each.name), 0, MAX_MS)
        within("--denoising-steps", self.denoising_steps, 1, MAX_DENOISING)
        within("--jitter", self.jitter, 0, 2)

    def drawn(self, mean: float, uniform: float) -> float:
        """One time around its mean: a function of a number from 0 to 1, which comes from counters, so that every arm
        and every point of a sweep sees the same calls.
        """
        if self.jitter == 0.0:
            return mean
        normal = _NORMAL.inv_cdf(min(max(uniform, 1e-12), 1 - 1e-12))
        return mean * math.exp(self.jitter * normal - self.jitter**2 / 2)


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
    within("--num-requests", count, 1, MAX_REQUESTS)
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
        at += times.drawn(times.plan_step if step else times.plan_first, plan[step][1])
        closes.append(at)
    whole = at + times.drawn(times.plan_tail, plan[MAX_STEPS][1])
    made = []
    for step in range(count):
        generate = times.generate if step else times.generate_first
        row = []
        for attempt in range(t_max):
            u = tries[step][attempt]
            verdict = times.drawn(times.verdict, u[3])
            judge = verdict + times.drawn(times.verdict_tail, u[5])
            says = ACCEPTED if u[6] < accept[min(attempt, len(accept) - 1)] else REFUSED
            row.append((times.drawn(generate, u[1]), verdict, judge, says))
        made.append(row)
    return whole, closes, made, t_max
