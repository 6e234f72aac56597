"""What is asked for: simulated requests, drawn by counters or replayed, and the times at which they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from interleave_rt import _core
from interleave_rt.errors import BadRequestError

from .model import Times

__all__ = ["Tasks", "arrivals_ms", "check_seed", "draw_tasks"]

REFUSED, ACCEPTED, UNREADABLE = 0, 1, 2
MAX_STEPS, MAX_TRIES, PLAN_DRAWS = 25, 10, 2
MAX_SEED = 2**63 - 1
MAX_ARRIVAL_MS = 1e12

# Work of one request in milliseconds: plan, closes, steps of (generate, verdict, judge, says), t_max.
Task = tuple[float, list[float], list[list[tuple[float, float, float, int]]], int]


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

    def core(self, arm: str) -> list[_core.SimTask]:
        """For the core, in microseconds."""
        made = []
        for plan, closes, steps, t_max in self.of(arm):
            tries = [
                [(1000 * g, 1000 * v, 1000 * max(v, j), says) for g, v, j, says in step] for step in steps
            ]
            made.append(_core.SimTask(1000 * plan, [1000 * at for at in closes], tries, t_max))
        return made


def check_seed(seed: int) -> None:
    """Raises `BadRequestError` where `seed` is none."""
    if not 0 <= seed <= MAX_SEED:
        raise BadRequestError(f"[simulate] --seed is {seed}: 0 to {MAX_SEED} are possible")


def draw_tasks(
    times: Times, count: int, seed: int, *, steps: tuple[int, int], t_max: int, accept: Sequence[float]
) -> Tasks:
    """Requests from the latency models; the request's number and the seed are the only sources of chance.

    `steps` is the least and the most of a plan; `accept` the probability that the critic accepts by attempt, whose last
    one holds for all beyond.
    """
    check_seed(seed)
    if count < 1:
        raise BadRequestError(f"[simulate] --num-requests is {count}: at least 1 is wanted")
    if not 1 <= steps[0] <= steps[1] <= MAX_STEPS:
        raise BadRequestError(
            f"[simulate] --steps is {steps[0]} to {steps[1]}: 1 to {MAX_STEPS} are possible"
        )
    if not 1 <= t_max <= MAX_TRIES:
        raise BadRequestError(f"[simulate] --t-max is {t_max}: 1 to {MAX_TRIES} tries are possible")
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


def arrivals_ms(count: int, rate: float, burstiness: float, seed: int) -> list[float]:
    """When requests come in, at `rate` a second; gaps are gamma-distributed with shape `burstiness`.

    1 is a Poisson process, less comes in bursts, more is more even; an infinite rate brings all at once.
    """
    if not rate > 0 or not 0 < burstiness < math.inf:
        raise BadRequestError(
            f"[simulate] --request-rate is {rate}, --burstiness is {burstiness}: numbers above 0 are wanted"
        )
    check_seed(seed)
    if math.isinf(rate):
        return [0.0] * count
    source = np.random.Generator(np.random.Philox(key=seed, counter=[1, 0, 0, 0]))
    gap = rate * burstiness
    gaps = source.gamma(burstiness, 1000 / gap if gap > 0 else math.inf, size=count)
    found: list[float] = [0.0, *np.cumsum(gaps)[:-1].tolist()]
    if not found[-1] <= MAX_ARRIVAL_MS:
        raise BadRequestError(
            f"[simulate] --request-rate is {rate}, --burstiness is {burstiness}: "
            f"the last request would come after {MAX_ARRIVAL_MS:g} ms",
            hint="take a higher rate, or fewer requests",
        )
    return found
