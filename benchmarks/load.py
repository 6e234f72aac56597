"""Many requests at once: what batching and overlap bring, and what happens beyond the limits.

    python benchmarks/load.py --requests 64 --concurrency 8

1. Closed loop: steps a second of the speculative arm with `--concurrency` requests under way over those of the
   sequential arm with one, in turns on the same requests; bound: 1.5.
2. Overload: requests come in at ten times the rate that was just measured. What is refused must be refused at once with
   `OverloadedError` (within `--refusal-ms`) and a hint; everything that was taken must end; the resident memory must
   not pass the peak of the closed loop by more than `--memory-mb`. Afterwards the engine must hold nothing, and the
   first requests must finish.

Prints one JSON object; exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from frame import Said, finish, parser_of, say

from interleave_rt.errors import OverloadedError
from interleave_rt.measure.arms import ARMS, Engines, Target, Threads, pack_target
from interleave_rt.measure.document import busy_s
from interleave_rt.measure.environment import describe_environment, peak_rss_mb, reset_peak_rss
from interleave_rt.measure.load import Load, SampleRequest, arrivals_us, world_requests
from interleave_rt.measure.record import ROLES, Turn, closed_loop, open_loop
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.measure.statistics import ratio_of_means
from interleave_rt.pack import load_pack
from interleave_rt.request import Options

AT_LEAST = 1.5


def best_threads(target: Target, config: BenchConfig, cases: list[SampleRequest]) -> Threads:
    """The split that serves the plan's one arm best."""
    short = measure(config, target, cases, Said())
    return Threads.parse(short.threads[config.arms[0].name])


def steps_per_s(turn: Turn) -> float:
    return sum(record.steps for record in turn.records) / turn.wall_s


def closed(target: Target, cases: list[SampleRequest], arguments: argparse.Namespace) -> dict[str, Any]:
    """Turns of `sequential` alone and `speculative` at the wished concurrency, each with its own best threads."""
    plain, ahead = ARMS["sequential"], ARMS["speculative"]
    few = cases[: max(8, arguments.concurrency)]
    one = BenchConfig(Load(seed=arguments.seed), [plain], warmup=1)
    loop = Load("closed-loop", concurrency=arguments.concurrency, seed=arguments.seed)
    many = BenchConfig(loop, [ahead], warmup=1, turns=1)
    threads = {
        plain.name: arguments.threads or best_threads(target, one, few[:4]),
        ahead.name: arguments.threads or best_threads(target, many, few),
    }
    blocks: dict[str, list[Turn]] = {plain.name: [], ahead.name: []}
    per = max(1, len(cases) // arguments.turns)
    with Engines(target, many.engine_config()) as engines:
        for arm, wide in ((plain, 1), (ahead, arguments.concurrency)):
            closed_loop(engines.of(arm, threads[arm.name]), arm, list(enumerate(few)), wide)
        reset_peak_rss()
        for turn in range(arguments.turns):
            part = list(enumerate(cases))[turn * per : (turn + 1) * per]
            for arm, wide in ((plain, 1), (ahead, arguments.concurrency)):
                began = time.perf_counter()
                records = closed_loop(engines.of(arm, threads[arm.name]), arm, part, wide)
                wall = max(record.ended for record in records) - began
                blocks[arm.name].append(Turn(arm.name, turn, records, wall))
        peak = peak_rss_mb()
    a, b = blocks[plain.name], blocks[ahead.name]
    # Equal requests, so equal steps: walls are paired.
    ratio = ratio_of_means([block.wall_s for block in a], [block.wall_s for block in b], seed=arguments.seed)
    assert ratio is not None
    digests = [[record.digest for block in found for record in block.records] for found in (a, b)]
    return {
        "concurrency": arguments.concurrency,
        "requests": len(digests[0]),
        "threads": {name: str(split) for name, split in threads.items()},
        "sequential_steps_per_s": round(statistics.fmean(map(steps_per_s, a)), 3),
        "speculative_steps_per_s": round(statistics.fmean(map(steps_per_s, b)), 3),
        "ratio": ratio.as_dict(),
        "busy": {
            name: {
                role: round(sum(busy_s(x, role) for x in found) / sum(x.wall_s for x in found), 3)
                for role in ROLES
            }
            for name, found in blocks.items()
        },
        "requests_per_s": round(sum(len(x.records) for x in b) / sum(x.wall_s for x in b), 4),
        "peak_rss_mb": round(peak, 1),
        "equal": digests[0] == digests[1],
        "holds": ratio.ratio >= AT_LEAST and digests[0] == digests[1],
    }


def overload(
    target: Target, cases: list[SampleRequest], arguments: argparse.Namespace, measured: dict[str, Any]
) -> dict[str, Any]:
    """Ten times what can be served."""
    arm = ARMS["speculative"]
    config = BenchConfig(Load("server", max_queued=arguments.max_queued), [arm])
    rate = arguments.overload * measured["requests_per_s"]
    count = max(arguments.requests, int(rate * arguments.overload_s))
    wanted = [(index, cases[index % len(cases)]) for index in range(count)]
    threads = Threads.parse(measured["threads"][arm.name])
    with Engines(target, config.engine_config()) as engines:
        engine = engines.of(arm, threads)
        closed_loop(engine, arm, wanted[: max(8, arguments.concurrency)], 8)
        reset_peak_rss()
        records = open_loop(engine, arm, wanted, arrivals_us(count, rate, 1.0, arguments.seed))
        peak = peak_rss_mb()
        hint = _refusal_hint(engine, config, cases)
        engine_left = left(engine)
        after = closed_loop(engine, arm, wanted[:2], 1)
    refused = [record for record in records if record.outcome == "overloaded"]
    taken = [record for record in records if record.outcome != "overloaded"]
    slow = max((record.ended - record.submitted for record in refused), default=0.0)
    holds = (
        bool(refused)
        and all(record.finished for record in [*taken, *after])
        and peak <= measured["peak_rss_mb"] + arguments.memory_mb
        and bool(hint)
        and 1000 * slow <= arguments.refusal_ms
        and not any(engine_left.values())
    )
    return {
        "rate_per_s": round(rate, 3),
        "requests": count,
        "completed": sum(record.finished for record in taken),
        "refused": len(refused),
        "slowest_refusal_ms": round(1000 * slow, 3),
        "error": refused[0].message if refused else None,
        "hint": hint,
        "peak_rss_mb": round(peak, 1),
        "left": engine_left,
        "after": [record.outcome for record in after],
        "holds": holds,
    }


def left(engine: Any, wait_s: float = 5.0) -> dict[str, int]:
    """What the engine still holds; calls that were cancelled have a moment to come to their next cancel point."""
    until = time.monotonic() + wait_s
    while True:
        counters = engine.counters()
        found = {name: int(counters[name]) for name in ("live", "running_calls", "images")}
        if not any(found.values()) or time.monotonic() >= until:
            return found
        time.sleep(0.01)


def _refusal_hint(engine: Any, config: BenchConfig, cases: list[SampleRequest]) -> str | None:
    """What a caller is told to do: fills the engine once more."""
    room = config.engine_config()
    handles, hint = [], None
    try:
        for _ in range(room.max_live + room.max_queued + 1):
            handles.append(engine.submit(cases[0].request, options=cases[0].options))  # noqa: PERF401
    except OverloadedError as error:
        hint = error.hint
    for handle in handles:
        handle.cancel()
    for handle in handles:
        handle.finished()
        handle.close()
    return hint


def main() -> int:
    parser = parser_of(__doc__, requests=64)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--threads", type=Threads.parse, help="G+V for both arms; default: the best of each")
    parser.add_argument("--overload", type=float, default=10.0)
    parser.add_argument("--overload-s", type=float, default=20.0)
    parser.add_argument("--max-queued", type=int, default=16)
    parser.add_argument("--memory-mb", type=float, default=100.0)
    parser.add_argument("--refusal-ms", type=float, default=100.0, help="a refusal takes at most so long")
    arguments = parser.parse_args()
    target = pack_target(load_pack(arguments.pack))
    cases = world_requests(arguments.requests, arguments.seed, Options())
    measured = closed(target, cases, arguments)
    say(measured)
    flooded = overload(target, cases, arguments, measured)
    holds = measured["holds"] and flooded["holds"]
    document = {"seed": arguments.seed, "holds": holds, "closed_loop": measured, "overload": flooded}
    return finish({**document, "environment": describe_environment(gpu=True)}, holds=holds)


if __name__ == "__main__":
    sys.exit(main())
