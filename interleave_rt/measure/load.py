"""The load: how requests come in, the same for an engine and for virtual time, and what counts as a good answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from interleave_rt.errors import BadRequestError

__all__ = [
    "Load",
    "Scenario",
    "arrivals_us",
    "check_seed",
    "parse_numbers",
    "parse_percentiles",
    "parse_slo",
    "within",
]

Scenario = Literal["single-stream", "closed-loop", "server", "offline"]
MAX_SEED = 2**63 - 1
MAX_REQUESTS = 1_000_000
MAX_ARRIVAL_US = 10**15


@dataclass(frozen=True, slots=True)
class Load:
    """When requests come in, how many may be under way, and which of them count as good.

    Args:
        scenario: `single-stream`: one request at a time; `closed-loop`: `concurrency` at a time; `server`: they come
            in at `request_rate` a second; `offline`: all at once.
        concurrency: Of a closed loop.
        request_rate: Of a server, requests a second; infinite: all at once.
        burstiness: Of a server, the shape of the gamma-distributed gaps: 1 is a Poisson process, less comes in bursts,
            more is more even.
        max_live: Requests that run at once.
        max_queued: Requests that wait beyond those, one more is refused; None: no limit that is ever reached.
        seed: Of the arrivals, and of whatever else is drawn.
        percentiles: Of all latencies in the document, 0 to 100.
        slo_ms: Limits by name (`e2e`, `ttfi`): a request that keeps all of them counts for the goodput.
    """

    scenario: Scenario = "single-stream"
    concurrency: int = 1
    request_rate: float = math.inf
    burstiness: float = 1.0
    max_live: int = 8
    max_queued: int | None = None
    seed: int = 0
    percentiles: Sequence[float] = (50.0, 90.0, 95.0, 99.0)
    slo_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = get_args(Scenario)
        if self.scenario not in known:
            raise BadRequestError(f"--scenario is {self.scenario!r}", hint=f"it is {' or '.join(known)}")
        check_seed(self.seed)
        within("--concurrency", self.concurrency, 1, MAX_REQUESTS)
        within("--max-live", self.max_live, 1, MAX_REQUESTS)
        within("--max-queued", self.max_queued or 0, 0, MAX_REQUESTS)
        if not self.request_rate > 0 or not 0 < self.burstiness < math.inf:
            raise BadRequestError(
                f"--request-rate is {self.request_rate}, --burstiness is {self.burstiness}: "
                "numbers above 0 are wanted"
            )
        unknown = sorted(set(self.slo_ms) - {"e2e", "ttfi"})
        if unknown:
            raise BadRequestError(f"--slo has no limit {unknown[0]!r}", hint="limits: e2e, ttfi")

    @property
    def under_way(self) -> int | None:
        """Requests that a closed loop keeps under way; None: they come in by themselves."""
        return {"single-stream": 1, "closed-loop": self.concurrency}.get(self.scenario)

    def arrivals_us(self, count: int) -> list[int]:
        """Microseconds from the first request to each of the first `count` ones (`server` and `offline`)."""
        rate = self.request_rate if self.scenario == "server" else math.inf
        return arrivals_us(count, rate, self.burstiness, self.seed)


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raises `BadRequestError` where a number is out of its range, ends included."""
    if not low <= value <= high:
        possible = f"at least {low} is" if high == math.inf else f"{low:g} to {high:g} are"
        raise BadRequestError(f"{name} is {value}: {possible} possible")


def check_seed(seed: int) -> None:
    """Raises `BadRequestError` where `seed` is none."""
    if not 0 <= seed <= MAX_SEED:
        raise BadRequestError(f"--seed is {seed}", hint="a whole number from 0 to 2^63 - 1, e.g. 7")


def arrivals_us(count: int, rate: float, burstiness: float, seed: int) -> list[int]:
    """When requests come in: gamma-distributed gaps of mean 1 / `rate` seconds and shape `burstiness`.

    Returns:
        Whole microseconds from the first request on, which is at 0. More requests prolong the list and leave its
        beginning as it is.

    Raises:
        BadRequestError: The last request would never come.
    """
    if math.isinf(rate):
        return [0] * count
    source = np.random.Generator(np.random.Philox(key=seed, counter=[1, 0, 0, 0]))
    each = rate * burstiness
    gaps = source.gamma(burstiness, 1e6 / each if each > 0 else math.inf, size=count)
    at = np.concatenate([[0.0], np.cumsum(gaps)[:-1]])
    if not at[-1] <= MAX_ARRIVAL_US:
        raise BadRequestError(
            f"--request-rate is {rate}, --burstiness is {burstiness}: the last request would come after "
            f"{MAX_ARRIVAL_US // 10**6:g} s",
            hint="take a higher rate, or fewer requests",
        )
    return [round(one) for one in at.tolist()]


def parse_numbers(option: str, text: str, most: float, hint: str) -> tuple[float, ...]:
    """Reads numbers from 0 to `most`, separated by commas: `50,90,99`."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= value <= most for value in found):
        raise BadRequestError(f"{option} is {text!r}", hint=f"numbers from 0 to {most:g}, e.g. {hint}")
    return found


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Reads `--percentiles`."""
    return parse_numbers("--percentiles", text, 100, "50,90,99")


def parse_slo(text: str) -> dict[str, float]:
    """Reads `e2e:500,ttfi:200` (milliseconds); nothing: no limits."""
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition(":")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise BadRequestError(f"--slo is {text!r}", hint="milliseconds by name, e.g. e2e:500,ttfi:200")
        limits[name.strip()] = limit
    return limits
