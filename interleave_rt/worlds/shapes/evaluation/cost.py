"""The row of what a pack costs on this machine: its size, the time to load it, the time of a request."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from interleave_rt.engine import Engine
from interleave_rt.errors import InterleaveError
from interleave_rt.pack import Pack

from .figures import Row
from .samples import Samples

__all__ = ["measure_cost"]

REQUEST = "Draw a robot."
"""Five steps: a body, a head, two arms and a wheel."""

_TIMES = 5


def measure_cost(samples: Samples, pack: Pack, load: Callable[[Pack], Engine] = Engine.load) -> Row:
    """No targets: the figures depend on the machine, and on what else runs there."""
    row = Row("cost")
    size = sum(path.stat().st_size for path in pack.path.rglob("*") if path.is_file())
    row.value("size", "files of the pack", size / 1e6, 1, unit="MB")
    loads, times, steps, tries = [], [], set(), []
    with samples.progress.task("load and one request", 2 * _TIMES) as tell:
        for number in range(_TIMES):
            began = time.perf_counter()
            with load(pack) as engine:
                loads.append(time.perf_counter() - began)
                tell(2 * number + 1)
                for counts in (False, True):  # the first one of an engine is slower
                    try:
                        result = engine.run(REQUEST, seed=samples.settings.seed + number)
                    except InterleaveError:
                        row.failed += 1
                        continue
                    if counts:
                        times.append(result.timings.total_s)
                        steps.add(len(result.steps))
                        tries.append(sum(len(step.attempts) for step in result.steps))
                tell(2 * number + 2)
    row.value("load", "loading it, files checked (median)", statistics.median(loads), len(loads), unit="s")
    what = f"{REQUEST!r}, {'/'.join(map(str, sorted(steps))) or 'no'} steps (median)"
    row.value("request", what, statistics.median(times) if times else None, len(times), unit="s")
    made = statistics.median(tries) if tries else None
    row.value("request/tries", "- pictures made for it (median)", made, len(tries), unit="count")
    row.details = {"load_s": _rounded(loads), "request_s": _rounded(times), "pictures": tries}
    return row


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]
