"""Whether a run is worse than an earlier one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError

from .document import FORMAT_VERSION
from .statistics import flatten

__all__ = ["Fall", "compare", "read_baseline"]

# Figures of an arm that are watched, and whether more is better.
_ARM_FIGURES = {
    "e2e_latency_ms.mean": False,
    "e2e_latency_ms.p50": False,
    "ttfi_ms.mean": False,
    "time_per_step_ms.mean": False,
    "request_throughput": True,
    "steps_per_s": True,
}


@dataclass(frozen=True, slots=True)
class Fall:
    """A figure that is worse than before."""

    key: str
    before: float
    now: float
    percent: float

    def __str__(self) -> str:
        return f"{self.key}: {self.before:g} -> {self.now:g} ({self.percent:.1f} % worse)"


def read_baseline(path: Path) -> dict[str, Any]:
    """A document that `--output` wrote.

    Raises:
        BadRequestError: It is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequestError(f"[bench] --baseline {path} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION or "arms" not in found:
        raise BadRequestError(
            f"[bench] {path} is not a result of format {FORMAT_VERSION}",
            hint="make one with bench --output FILE.json",
        )
    return found


def compare(before: Mapping[str, Any], now: Mapping[str, Any], percent: float) -> list[Fall]:
    """What fell by more than `percent`: latencies and rates of each arm, speed-ups, equal results.

    Raises:
        BadRequestError: The two runs have no figure in common, so that nothing was compared.
    """
    old, new = flatten(before), flatten(now)
    watched = {
        f"arms.{arm}.{figure}": more for arm in now["arms"] for figure, more in _ARM_FIGURES.items()
    } | {
        key: True
        for key in new
        if key.startswith("speedup.") and key.count(".") == 2 and key.endswith("ratio")
    }
    pairs = {key: (old.get(key), new.get(key)) for key in watched}
    known = {
        key: (float(a), float(b))
        for key, (a, b) in pairs.items()
        if isinstance(a, (int, float)) and isinstance(b, (int, float)) and a > 0 and b > 0
    }
    if not known:
        raise BadRequestError(
            "[bench] this run and the baseline have no figure in common",
            hint="compare runs of the same arms that finished requests",
        )
    falls = []
    for key, (a, b) in known.items():
        worse = 100 * (a / b - 1.0) if watched[key] else 100 * (b / a - 1.0)
        if worse > percent:
            falls.append(Fall(key, a, b, worse))
    lost = now["lossless"]["requests"] - now["lossless"]["equal"]
    if lost:
        falls.append(Fall("lossless.equal", now["lossless"]["requests"], now["lossless"]["equal"], 100.0))
    return falls
