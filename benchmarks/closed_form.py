"""The scheduler against arithmetic: scripted latencies, and what an event recurrence says of them.

    python benchmarks/closed_form.py --requests 100

G = 60 ms in four denoising steps, C = 60 ms with the verdict at 40, a plan of 5 steps in 160 ms (the first at 40, then
one each 30), T_max = 5, p = 1 / 0.8 / 0.6, separate lanes. All arms meet the same requests, so the same accept pattern;
the recurrence below reads that pattern from the committed results and knows nothing of the scheduler. Prints one JSON
object; exits with 1 where a bound is missed or a result differs between arms.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frame import held, parser_of, ratios_of_real_models, say

from interleave_rt.measure.arms import ARMS, Target, scripted_target
from interleave_rt.measure.load import Load, numbered_requests
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.request import Options

T_MAX = 5
AT_MOST = 1.05  # times the closed form
# Accept probability -> over sequential, over sequential-es: at least.
AT_LEAST = {1.0: (1.90, 1.35), 0.8: (1.62, 1.23), 0.6: (1.42, 1.14)}


@dataclass(frozen=True)
class Times:
    """Milliseconds of calls that nothing slows: those of `ratios_of_real_models`."""

    generate: float = 60.0
    quantum: float = 15.0  # a denoising step
    judge: float = 60.0
    verdict: float = 40.0
    plan: float = 160.0
    first_step: float = 40.0

    def plan_step(self, index: int, steps: int) -> float:
        """When step `index` of a plan has closed."""
        return self.first_step + (self.plan - self.first_step) * index / max(1, steps - 1)


def closed_form(pattern: Sequence[Sequence[bool | None]], times: Times) -> float:
    """Milliseconds of a request whose verdicts were `pattern` (None: not judged) on lanes that never wait needlessly.

    The generator goes on with the next step while the critic judges. An accepted image costs nothing more; a refused
    one costs the rest of the critic's answer, or the quantum in which the generator can be stopped, if that is longer.
    The next step's image starts no sooner than its line of the plan, and the request ends no sooner than the plan.
    """
    steps = len(pattern)
    ready = times.plan_step(0, steps) + times.generate  # the first image
    end = times.plan
    for index, verdicts in enumerate(pattern):
        ahead = math.inf if index + 1 == steps else times.plan_step(index + 1, steps)
        for verdict in verdicts:
            if verdict is None:
                continue
            if verdict:
                end = max(end, ready + times.verdict)
                continue
            known, started = ready + times.verdict, max(ready, ahead)
            freed = known
            if started < known:  # a generation that nobody wants any more: to its next cancel point
                freed = started + math.ceil((known - started) / times.quantum) * times.quantum
            ready = max(ready + times.judge, freed) + times.generate
        end = max(end, ready)
        if index + 1 < steps:
            ready = max(ready, ahead) + times.generate
    return end


def compared(target: Target, count: int, seed: int, times: Times, warmup: int = 4) -> dict[str, Any]:
    """What the speculative arm takes, beside the closed form of what it met; the ratios over the other arms."""
    config = BenchConfig(Load(seed=seed), list(ARMS.values()), warmup=warmup)
    found = measure(config, target, numbered_requests(count, seed, Options(t_max=T_MAX)))
    result = found.document({})
    records = [record for record in found.records("speculative") if record.finished]
    ideal = [closed_form(record.pattern, times) for record in records]
    took = [1000 * record.e2e_s for record in records]
    lossless = result["lossless"]
    ratios = {
        name: {part: result["speedup"][of][part] for part in ("ratio", "low", "high")}
        for name, of in (
            ("over_sequential", "speculative_vs_sequential"),
            ("over_sequential_es", "speculative_vs_sequential_es"),
        )
    }
    return {
        "requests": len(records),
        "attempts_a_step": round(
            statistics.fmean(len(step) for record in records for step in record.pattern), 3
        ),
        "mean_ms": round(statistics.fmean(took), 3),
        "closed_form_ms": round(statistics.fmean(ideal), 3),
        "of_closed_form": round(sum(took) / sum(ideal), 4),
        "worst_request": round(max(a / b for a, b in zip(took, ideal, strict=True)), 4),
        **ratios,
        "cancel_latency_ms": result["speculation"]["cancel_latency_by_role_ms"],
        "lossless": lossless,
        "equal": lossless["equal"] == lossless["requests"] == lossless["finished"] == count,
    }


def run(p: float, count: int, seed: int, times: Times) -> dict[str, Any]:
    """One accept probability."""
    row = compared(scripted_target(ratios_of_real_models(accept_prob=p, seed=seed)), count, seed, times)
    over = row["over_sequential"]["ratio"], row["over_sequential_es"]["ratio"]
    enough = all(ratio >= least for ratio, least in zip(over, AT_LEAST[p], strict=True))
    return {"accept_prob": p, **row, "holds": row["of_closed_form"] <= AT_MOST and enough and row["equal"]}


def main() -> int:
    parser = parser_of(__doc__, requests=100, pack=False)
    parser.add_argument("--accept-prob", default="1,0.8,0.6", help="of " + ", ".join(map(str, AT_LEAST)))
    arguments = parser.parse_args()
    chosen = [float(part) for part in arguments.accept_prob.split(",")]
    if not set(chosen) <= set(AT_LEAST):
        parser.error("bounds are known for --accept-prob " + ", ".join(map(str, AT_LEAST)))
    rows = []
    for p in chosen:
        rows.append(run(p, arguments.requests, arguments.seed, Times()))
        say(rows[-1])
    return held(rows, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
