"""Law 4 on real threads: speculation `auto` against `off`, everything else on, in turns A B A B.

    python benchmarks/never_slower.py --pairs 24

Three targets: scripted lanes on separate devices and on a shared one, and the embedded pack. A turn is a block of
requests; each pair of turns gives one ratio (off / auto) of the mean end-to-end latency and one of the throughput.
What must hold: the one-sided 95 % lower bound of the median ratio is at least 0.98. Prints one JSON object; exits with
1 where it does not hold.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from frame import held, parser_of, ratios_of_real_models, say

from interleave_rt.measure.arms import Arm, Threads, pack_target, scripted_target
from interleave_rt.measure.load import Load, numbered_requests, world_requests
from interleave_rt.measure.record import Turn
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.measure.statistics import lower_bound_of_median
from interleave_rt.pack import load_pack
from interleave_rt.request import Optimizations, Options

AT_LEAST = 0.98
OFF = Arm("sequential-es", "off", Optimizations(), batching=True)  # everything but speculation
AUTO = Arm("speculative", "auto", Optimizations(), batching=True)


def ratios(off: Sequence[Turn], auto: Sequence[Turn]) -> dict[str, list[float]]:
    """One figure a pair of turns; above 1: `auto` is better."""
    found: dict[str, list[float]] = {"e2e": [], "throughput": []}
    for a, b in zip(off, auto, strict=True):
        mean = [statistics.fmean(record.e2e_s for record in block.records) for block in (a, b)]
        found["e2e"].append(mean[0] / mean[1])
        found["throughput"].append(a.wall_s / b.wall_s)
    return found


def compare(
    name: str, target: Any, world: Any, config: BenchConfig, requests: int, pairs: int
) -> dict[str, Any]:
    # Under load the end of a turn, where lanes run dry, must not be most of it.
    cases = world(max(requests, 12 * config.load.concurrency) * pairs, config.load.seed, Options())
    measured = measure(config, target, cases)
    found = ratios(measured.of(OFF.name), measured.of(AUTO.name))
    result = measured.document({})
    row: dict[str, Any] = {
        "target": name,
        "concurrency": config.load.concurrency,
        "pairs": pairs,
        "requests": len(cases),
        "threads": measured.threads,
    }
    for figure, values in found.items():
        row[figure] = {
            "median": round(statistics.median(values), 4),
            "lower_bound": round(lower_bound_of_median(values), 4),
        }
    lossless = result["lossless"]
    row["speculated"] = result["speculation"]["speculated"]
    row["discarded"] = result["speculation"]["discarded"]
    row["equal"] = lossless["equal"]
    row["holds"] = lossless["equal"] == lossless["finished"] == len(cases) and all(
        row[figure]["lower_bound"] >= AT_LEAST for figure in found
    )
    return row


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--requests", type=int, default=8, help="in a turn")
    parser.add_argument("--concurrency", default="1,4", help="of each target, separated by commas")
    parser.add_argument("--targets", default="separate,shared,pack")
    parser.add_argument("--accept-prob", type=float, default=0.6)
    parser.add_argument("--slowdown", type=float, default=2.0, help="shared lanes: 2 is plain time-slicing")
    parser.add_argument("--threads", type=Threads.parse, help="pack: G+V; default: the best of the arm `off`")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.targets.split(","):
        if name == "pack":
            target: Any = pack_target(load_pack(arguments.pack))
            world: Any = world_requests
        elif name in ("separate", "shared"):
            shared = name == "shared"
            script = ratios_of_real_models(
                0.25,
                accept_prob=arguments.accept_prob,
                shared=shared,
                slowdown=arguments.slowdown if shared else 1.0,
                seed=arguments.seed,
            )
            target, world = scripted_target(script), numbered_requests
        else:
            parser.error(f"--targets has {name!r}: separate, shared or pack")
        threads = arguments.threads
        if name == "pack" and threads is None:
            # Both arms under one split: the question is speculation alone.
            probe = BenchConfig(Load(seed=arguments.seed), [OFF])
            threads = Threads.parse(
                measure(probe, target, world(2, arguments.seed, Options())).threads[OFF.name]
            )
        for concurrency in map(int, arguments.concurrency.split(",")):
            load = Load("closed-loop", concurrency=concurrency, seed=arguments.seed)
            config = BenchConfig(load, [OFF, AUTO], turns=arguments.pairs, warmup=8, threads=threads)
            rows.append(compare(name, target, world, config, arguments.requests, arguments.pairs))
            say(rows[-1])
    return held(rows, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
