"""Processor time of a request on the default engine, one at a time, and a digest of all results.

    python benchmarks/cpu_request.py [--requests 20] [--speculation auto|off] [--concurrency 1]

For two versions or two packs: run it in turns with the one and the other, on the same seed. Equal digests say that
every plan, picture, verdict and p(success) is equal.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from dataclasses import replace

from frame import finish, parser_of
from lossless import draw_cases, run_arm

from interleave_rt import Engine, Result
from interleave_rt.measure.arms import Arm
from interleave_rt.request import Optimizations

_WARM = 3


def main() -> int:
    parser = parser_of(__doc__, requests=20, seed=1, output=True)
    parser.add_argument("--speculation", default="auto")
    parser.add_argument("--concurrency", type=int, default=1)
    arguments = parser.parse_args()
    arm = Arm("cpu", arguments.speculation, Optimizations(), batching=True)
    cases = draw_cases(arguments.requests, arguments.seed)
    cases = [replace(case, options=replace(case.options, t_max=5)) for case in cases]
    with Engine.load(arguments.pack, max_live=max(8, arguments.concurrency)) as engine:
        run_arm(engine, arm, cases[:_WARM], 1)
        worked, results = [], []
        block = arguments.concurrency
        begun = time.perf_counter()
        for start in range(0, len(cases), block):
            idle = time.process_time()
            results += run_arm(engine, arm, cases[start : start + block], block)
            worked.append((time.process_time() - idle) / len(cases[start : start + block]))
        wall = time.perf_counter() - begun
    finished = [result for result in results if isinstance(result, Result)]
    said = json.dumps([result.canonical() for result in finished], sort_keys=True)
    document = {
        "requests": len(results),
        "finished": len(finished),
        "cpu_ms": round(1e3 * statistics.fmean(worked), 1),
        "cpu_ms_median": round(1e3 * statistics.median(worked), 1),
        "wall_ms": round(1e3 * wall / len(results), 1),
        "digest": hashlib.sha256(said.encode()).hexdigest()[:16],
        "seed": arguments.seed,
    }
    return finish(document, holds=len(finished) == len(results), output=arguments.output)


if __name__ == "__main__":
    raise SystemExit(main())
