"""Whether a run is worse than an earlier one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_json

from .document import FORMAT_VERSION
from .runner import BenchConfig
from .statistics import flatten

# Figures of an arm that are watched, and whether more is better.
_ARM_FIGURES = {
    "e2e_latency_ms.mean": False,
    "e2e_latency_ms.p50": False,
    "ttfi_ms.mean": False,
    "time_per_step_ms.mean": False,
    "request_throughput": True,
    "steps_per_s": True,
}
# Parts of a result that `simulate` and calibrations do not have, or not all of them.
_PARTS = ("scenario", "arms", "speedup", "lossless", "environment")
# What two runs must share; otherwise their figures mean different things.
_SAME = {
    "name": "--scenario",
    "target": "target",
    "concurrency": "--concurrency",
    "request_rate": "--request-rate",
}


@dataclass(frozen=True, slots=True)
class Fall:
    """A figure that is worse than before; `now` is None where this run has none."""

    key: str
    before: float
    now: float | None
    percent: float

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.key}: {self.before:g} -> none (nothing was measured)"
        return f"{self.key}: {self.before:g} -> {self.now:g} ({self.percent:.1f} % worse)"


def read_baseline(path: Path) -> dict[str, Any]:
    """A document that `--output` wrote.

    Raises:
        BadRequestError: It is none.
    """
    found = read_json(path, what="--baseline")
    if (
        not isinstance(found, dict)
        or found.get("format_version") != FORMAT_VERSION
        or not all(isinstance(found.get(part), dict) for part in _PARTS)
    ):
        raise BadRequestError(
            f"[bench] {path} is not a result of bench of format {FORMAT_VERSION}",
            hint="make one with bench --output FILE.json",
        )
    return found


def check_comparison(before: Mapping[str, Any], config: BenchConfig, target: str) -> None:
    """Looks, before anything is measured, at whether the run can be compared with the baseline.

    Raises:
        BadRequestError: The two differ in how they measure, or have no figure in common.
    """
    load = config.load
    wanted = {
        "name": load.scenario,
        "target": target,
        "concurrency": load.under_way or 1,
        "request_rate": load.request_rate if load.scenario == "server" else None,
    }
    _check_scenario(before["scenario"], wanted)
    _known(before, [arm.name for arm in config.arms])


def compare(before: Mapping[str, Any], now: Mapping[str, Any], percent: float) -> list[Fall]:
    """What fell by more than `percent`, or is gone: latencies and rates of the arms of this run, and speed-ups.

    Raises:
        BadRequestError: The two cannot be compared; `check_comparison` says so beforehand.
    """
    _check_scenario(before["scenario"], now["scenario"])
    new = flatten(now)
    falls = []
    for key, (a, more) in _known(before, now["lossless"]["arms"]).items():
        b = _number(new.get(key))
        if b is None:
            falls.append(Fall(key, a, None, math.inf))
            continue
        high, low = (a, b) if more else (b, a)
        worse = 100 * (high / low - 1.0) if low > 0 else math.inf
        if worse > percent:
            falls.append(Fall(key, a, b, worse))
    return falls


def _check_scenario(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key, name in _SAME.items():
        if before.get(key) != now[key]:
            raise BadRequestError(
                f"[bench] the baseline's {name} is {before.get(key)}, this run's is {now[key]}",
                hint="compare runs of the same scenario, target, concurrency and rate",
            )


def _known(before: Mapping[str, Any], arms: Iterable[str]) -> dict[str, tuple[float, bool]]:
    """The baseline's figures of these arms, and whether more is better."""
    names = list(arms)
    watched = {f"arms.{arm}.{figure}": more for arm in names for figure, more in _ARM_FIGURES.items()}
    for pair in combinations(names, 2):
        one, two = (name.replace("-", "_") for name in pair)
        watched |= {f"speedup.{one}_vs_{two}.ratio": True, f"speedup.{two}_vs_{one}.ratio": True}
    old = {key: _number(value) for key, value in flatten(before).items()}
    known = {key: (a, more) for key, more in watched.items() if (a := old.get(key)) is not None and a > 0}
    if not known:
        raise BadRequestError(
            "[bench] this run and the baseline have no figure in common",
            hint="compare runs of the same arms that finished requests",
        )
    return known


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
