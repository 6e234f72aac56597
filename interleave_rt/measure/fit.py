"""How fast calls get on beside others: fitted to calls whose work is known.

The rate of a call is m[mask] / c[b]: m depends on which roles are active, c on how many calls share the lane. A call
that takes the time t(b, mask) in each state has done the work sum t m / c, and that work is what the same call needs
when it is alone, less a constant k where it begins right after another (the weights are in the caches). Every known
call gives one such equation; m and k, then c, are solved for in turns (least squares, held to 1, 0 and 1 where there is
too little to see). An equation weighs 1 / duration: how far a call gets in a time is uncertain by the square root of
that time, and with this weight one state alone gives m = sum of work / sum of time. Weighed by its work, a call that
happened to be slow would count twice, and every rate would come out too low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .record import ROLES, CallRecord

Array = npt.NDArray[np.float64]
Key = tuple[int, str, int, int, int]  # of a call: see `CallRecord.key`
ROUNDS = 30
PRIOR = 5e-4  # weight of what is expected of a state, in equations per equation
LEAST, MOST = 0.05, 1.5  # of a rate
REST_S = 1e-3  # of a lane, after which it is cold; as in csrc/sim/simulate.cpp
MOST_WARM = 0.3  # k, in mean works
WORST = 1.2  # of a batch over its calls one after the other


@dataclass(slots=True)
class Rates:
    """m by role and mask (bit r = `ROLES[r]` is active), c by role and b - 1, k in seconds by role."""

    by_mask: dict[str, Array]
    curve: dict[str, Array]
    warm: dict[str, float]

    @classmethod
    def alone(cls, capacity: int) -> Rates:
        """Nothing slows anything."""
        return cls(
            {role: np.ones(8) for role in ROLES},
            {role: np.ones(capacity) for role in ROLES},
            dict.fromkeys(ROLES, 0.0),
        )

    def named(self) -> dict[str, dict[str, float]]:
        """As a calibration file says it."""
        found = {}
        for mask in range(8):
            active = [role for bit, role in enumerate(ROLES) if mask >> bit & 1]
            if len(active) > 1:
                found["+".join(active)] = {role: round(float(self.by_mask[role][mask]), 4) for role in active}
        return found


class Timeline:
    """Which calls were active when, in one run. A call is active from the scheduler's decision on: the way to its lane
    is a part of it.
    """

    def __init__(self, calls: Sequence[CallRecord]) -> None:
        edges = sorted({call.queued for call in calls} | {call.end for call in calls})
        self.edges = np.array(edges)
        self.active = np.zeros((3, max(0, len(edges) - 1)), dtype=np.int64)
        for call in calls:
            first, last = np.searchsorted(self.edges, [call.queued, call.end])
            self.active[ROLES.index(call.role), first:last] += 1
        self.mask = sum((self.active[bit] > 0).astype(np.int64) << bit for bit in range(3))

    def exposure(self, role: str, start: float, end: float, capacity: int) -> Array:
        """Seconds in each state, [capacity, 8]."""
        found = np.zeros((capacity, 8))
        first = max(0, int(np.searchsorted(self.edges, start, side="right")) - 1)
        last = int(np.searchsorted(self.edges, end, side="left"))
        for i in range(first, min(last, self.active.shape[1])):
            took = min(end, self.edges[i + 1]) - max(start, self.edges[i])
            together = max(1, min(capacity, int(self.active[ROLES.index(role), i])))
            if took > 0:
                found[together - 1, self.mask[i]] += took
        return found


def work_of(exposure: Array, role: str, rates: Rates) -> float:
    """The work that was done in it."""
    return float(np.sum(exposure * rates.by_mask[role][None, :] / rates.curve[role][:, None]))


@dataclass(slots=True)
class _Rows:
    states: list[Array] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    warm: list[bool] = field(default_factory=list)


def fit_rates(
    base: Sequence[Sequence[CallRecord]],
    loads: Sequence[Sequence[CallRecord]],
    capacity: int,
) -> tuple[Rates, dict[Key, float]]:
    """Rates, and the work of every call by its key.

    Args:
        base: Runs in which every call is alone: one request at a time, plans not streamed, nothing speculated.
        loads: Runs of the same requests beside each other, streamed or with speculation.
        capacity: Most calls in a lane.
    """
    seen = [_exposures(run, capacity) for run in base]
    loaded = [_exposures(run, capacity) for run in loads]
    rates = Rates.alone(capacity)
    work = _works(seen, rates)
    for _ in range(ROUNDS):
        for role in ROLES:
            rows = _Rows()
            for run in (*seen, *loaded):
                for key, states, warm in run:
                    if key[1] == role and work.get(key, 0.0) > 0:
                        rows.states.append(states)
                        rows.work.append(work[key])
                        rows.warm.append(warm)
            if rows.work:
                _solve(role, rows, rates)
        work = _works(seen, rates)
    return rates, work


_Exposures = list[tuple[Key, Array, bool]]


def _exposures(calls: Sequence[CallRecord], capacity: int) -> _Exposures:
    line = Timeline(calls)
    return [
        (call.key, line.exposure(call.role, call.queued, call.end, capacity), _is_warm(call, calls))
        for call in calls
        if call.counts and call.end > call.queued
    ]


def _is_warm(call: CallRecord, calls: Sequence[CallRecord]) -> bool:
    ends = [
        other.end
        for other in calls
        if other is not call and other.role == call.role and other.queued <= call.queued <= other.end + REST_S
    ]
    return bool(ends) and max(ends) <= call.queued  # what calls at the same time save is in the curve


def _works(runs: Sequence[_Exposures], rates: Rates) -> dict[Key, float]:
    """The median over the runs: one disturbed run changes nothing."""
    found: dict[Key, list[float]] = {}
    for run in runs:
        for key, states, warm in run:
            spared = rates.warm[key[1]] if warm else 0.0
            found.setdefault(key, []).append(work_of(states, key[1], rates) + spared)
    return {key: float(np.median(values)) for key, values in found.items()}


def _solve(role: str, rows: _Rows, rates: Rates) -> None:
    states = np.array(rows.states)  # [calls, b, mask]
    took = states.sum(axis=(1, 2))
    weight = 1 / np.sqrt(took * took.mean())  # a row is about 1, so that the prior has its meaning
    mean = float(np.mean(rows.work))
    states, work = states * weight[:, None, None], np.array(rows.work) * weight
    spared = np.array(rows.warm, dtype=float) * mean * weight
    alone = 1 << ROLES.index(role)
    # Masks and k, with the curve as it is.
    by_mask = np.einsum("nbm,b->nm", states, 1 / rates.curve[role])
    others = [mask for mask in range(8) if mask & alone and mask != alone]
    found = _least_squares(
        np.column_stack([by_mask[:, others], spared]),
        work - by_mask[:, alone],
        np.append(rates.by_mask[role][others], rates.warm[role] / mean),
        np.append(np.ones(len(others)), 0.0),
        (np.append(np.full(len(others), LEAST), 0.0), np.append(np.full(len(others), MOST), MOST_WARM)),
    )
    rates.by_mask[role][others], rates.warm[role] = found[:-1], float(found[-1]) * mean
    work = work - spared * found[-1]
    # The curve, with the masks as they are.
    if states.shape[1] > 1:
        by_count = np.einsum("nbm,m->nb", states, rates.by_mask[role])
        slope = _slope(by_count, work)
        expected = 1 / (1 + slope * np.arange(states.shape[1]))
        speed = _least_squares(
            by_count[:, 1:], work - by_count[:, 0], expected[1:], expected[1:], (LEAST, MOST)
        )
        # Calls together are not slower than one after the other, but for a little.
        most = WORST * np.arange(2, states.shape[1] + 1)
        rates.curve[role][1:] = np.maximum.accumulate(np.clip(1 / speed, 1.0, most))


def _slope(by_count: Array, work: Array) -> float:
    """The k of c = 1 + k (b - 1) that fits best."""
    counts = np.arange(by_count.shape[1])
    tried = np.linspace(0.0, 1.2, 121)
    errors = [float(np.sum((by_count @ (1 / (1 + k * counts)) - work) ** 2)) + 1e-3 * k for k in tried]
    return float(tried[int(np.argmin(errors))])


def _least_squares(
    matrix: Array, wanted: Array, before: Array, prior: Array, bounds: tuple[Array | float, Array | float]
) -> Array:
    """Ridge towards `prior`, clipped; half a step from `before`, so that the turns settle."""
    weight = float(np.sqrt(PRIOR * max(1, len(wanted))))
    size = matrix.shape[1]
    whole = np.vstack([matrix, weight * np.eye(size)])
    target = np.concatenate([wanted, weight * np.broadcast_to(prior, size)])
    found = np.linalg.lstsq(whole, target, rcond=None)[0]
    settled: Array = np.clip(0.5 * before + 0.5 * found, *bounds)
    return settled


def overlap_of(rates: Rates) -> Mapping[str, float]:
    """s_c and r_g: critic and generator beside each other."""
    both = (1 << ROLES.index("generator")) | (1 << ROLES.index("critic"))
    return {
        "critic_slowdown": max(1.0, round(1 / float(rates.by_mask["critic"][both]), 4)),
        "generator_rate": min(1.0, round(float(rates.by_mask["generator"][both]), 4)),
    }
