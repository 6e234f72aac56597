"""How long calls take: latencies in milliseconds of a call that has its lane and its device to itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import NormalDist

from interleave_rt.errors import BadRequestError

__all__ = ["Latency", "Times"]

_NORMAL = NormalDist()
MAX_MS = 1e9


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency model: one value is fixed, several are a measured sample; `sigma` adds lognormal jitter of mean 1.

    A draw is a function of two uniform numbers, which the workload takes from counters: every arm and every point of
    a sweep sees the same calls.

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
        if not 0 <= self.sigma <= 2:
            raise BadRequestError(f"[Latency] sigma is {self.sigma}: a number from 0 to 2 is wanted")

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
        if not 1 <= self.denoising_steps <= 1000:
            raise BadRequestError(
                f"[Times] denoising_steps is {self.denoising_steps}: 1 to 1000 are possible"
            )

    def jittered(self, sigma: float) -> Times:
        """The same with lognormal jitter on every latency."""
        changed = {
            one.name: Latency(value.values, sigma)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), Latency)
        }
        return Times(**changed, denoising_steps=self.denoising_steps)


def fixed_plan(first_ms: float, whole_ms: float, steps: int) -> tuple[Latency, Latency, Latency]:
    """First step, further step and tail of a plan whose steps close evenly until its end."""
    if not 0 <= first_ms <= whole_ms:
        raise BadRequestError(
            f"[Times] the first step closes at {first_ms} ms of a plan of {whole_ms} ms: it has to lie within"
        )
    each = (whole_ms - first_ms) / (steps - 1) if steps > 1 else 0.0
    return _fixed(first_ms), _fixed(each), _fixed(whole_ms - first_ms if steps == 1 else 0.0)


def parse_probabilities(text: str) -> Sequence[float]:
    """`0.8`, or one number an attempt: `0.7,0.5,0.5`; the last one holds for all beyond."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 <= value <= 1 for value in values):
        raise BadRequestError(f"--accept-prob is {text!r}", hint="a probability, or one an attempt: 0.7,0.5")
    return values
