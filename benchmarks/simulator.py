"""The simulator against the engine: calibrates, then measures and simulates the same loads.

    python benchmarks/simulator.py                      # the embedded pack
    python benchmarks/simulator.py --runtime scripted   # made-up roles with exact latencies

Calibration: the requests one at a time in each arm, and some at once; from these come the work of every call, how the
roles slow each other, and the batching curves. Measurement: each arm runs the requests at each concurrency (closed
loop), every turn in an order of its own, so that a figure does not hang on who met whom. Both take turns, so that they
meet the same machine. The simulator then runs the same orders from the calibration. Prints one JSON object; exits with
1 where the p50 of the latency is off by more than 5 % or the throughput by more than 10 % (the usual turns of each).
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from frame import finish, parser_of, ratios_of_real_models, say

from interleave_rt import Options, load_pack
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BadRequestError
from interleave_rt.measure.arms import ARMS, Target, pack_target, scripted_target
from interleave_rt.measure.calibrate import Calibrator
from interleave_rt.measure.calibration import Calibration, load_calibration
from interleave_rt.measure.load import Load, SampleRequest, numbered_requests, world_requests
from interleave_rt.measure.record import RequestRecord, closed_loop
from interleave_rt.measure.simulation import simulate

MOST_P50, MOST_THROUGHPUT = 0.05, 0.10


class Measurement:
    """Arms and loads in turns, so that a slow minute of the machine hits all of them."""

    def __init__(
        self, target: Target, cases: list[SampleRequest], arms: list[str], loads: list[int], seed: int
    ) -> None:
        self._target, self._cases, self._arms = target, cases, arms
        self._random = random.Random(seed)
        self.orders: list[list[int]] = []
        self._engines: dict[bool, Engine] = {}
        self.found: dict[tuple[str, int], dict[str, list[float]]] = {
            (arm, load): {"p50": [], "rate": []} for arm in arms for load in loads
        }

    def open(self, config: EngineConfig, stack: ExitStack) -> None:
        for batching in sorted({ARMS[arm].batching for arm in self._arms}):
            engine = stack.enter_context(self._target.open(replace(config, batching=batching)))
            self._engines[batching] = engine
        for arm in self._arms:
            self._run(arm, 4, list(range(min(8, len(self._cases)))))

    def _run(self, arm: str, load: int, order: list[int]) -> list[RequestRecord]:
        engine = self._engines[ARMS[arm].batching]
        records = closed_loop(engine, ARMS[arm], [(index, self._cases[index]) for index in order], load)
        lost = [record.message for record in records if not record.finished]
        if lost:
            raise SystemExit(f"{len(lost)} requests did not finish, the first one: {lost[0]}")
        return records

    def turn(self) -> None:
        order = list(range(len(self._cases)))
        self._random.shuffle(order)
        self.orders.append(order)
        for (arm, load), at in self.found.items():
            began = time.perf_counter()
            records = self._run(arm, load, order)
            at["rate"].append(len(records) / (time.perf_counter() - began))
            at["p50"].append(1000 * statistics.median(record.e2e_s for record in records))


def usual_turns(rates: list[float]) -> list[int]:
    """The middle half of the turns, as the calibration leaves out its slowest and fastest quarter of rounds."""
    cut = len(rates) // 4
    return sorted(range(len(rates)), key=rates.__getitem__)[cut : len(rates) - cut]


def compare(calibration: Calibration, measurement: Measurement) -> list[dict[str, Any]]:
    rows = []
    requests = calibration.requests
    for (arm, load), seen in measurement.found.items():
        turns = usual_turns(seen["rate"])
        documents = [
            simulate(
                calibration.machine,
                calibration.model_copy(update={"requests": [requests[index] for index in order]}).tasks(),
                Load(scenario="closed-loop", concurrency=load, percentiles=(50, 95)),
                [ARMS[arm]],
            )["arms"][arm]
            for order in (measurement.orders[turn] for turn in turns)
        ]
        p50, rate = (statistics.fmean(seen[key][turn] for turn in turns) for key in ("p50", "rate"))
        said = (
            round(statistics.fmean(one["e2e_latency_ms"]["p50"] for one in documents), 2),
            round(statistics.fmean(one["request_throughput"] for one in documents), 3),
        )
        rows.append(
            {
                "arm": arm,
                "concurrency": load,
                "measured_p50_ms": round(p50, 2),
                "simulated_p50_ms": said[0],
                "p50_error": round(said[0] / p50 - 1, 4),
                "measured_throughput": round(rate, 3),
                "simulated_throughput": said[1],
                "throughput_error": round(said[1] / rate - 1, 4),
                "measured_turns_p50_ms": [round(one, 2) for one in seen["p50"]],
                "measured_turns_throughput": [round(one, 3) for one in seen["rate"]],
            }
        )
    return rows


def calibration_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Calibration:
    """The file of --calibration, which has to be of the same requests and arms as the measurement."""
    try:
        found = load_calibration(arguments.calibration)
    except BadRequestError as error:
        parser.error(error.message)
    have = len(found.requests)
    if have != arguments.requests:
        parser.error(
            f"{arguments.calibration} has {have} requests, --requests is {arguments.requests}: give --requests {have}"
        )
    missing = [arm for arm in arguments.arms.split(",") if arm not in found.arms]
    if missing:
        parser.error(f"{arguments.calibration} has no arm {missing[0]}: give --arms {','.join(found.arms)}")
    return found


def main() -> int:
    parser = parser_of(__doc__, requests=48)
    parser.add_argument("--runtime", choices=("pack", "scripted"), default="pack")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--loads", default="1,4,8")
    parser.add_argument("--arms", default="sequential-es,speculative")
    parser.add_argument("--calibration", help="use this file instead of measuring one")
    parser.add_argument("--save-calibration", help="write it to this file")
    arguments = parser.parse_args()
    base = Options()
    target: Target
    if arguments.runtime == "scripted":
        target = scripted_target(ratios_of_real_models(steps=3, accept_prob=0.7))
        cases = numbered_requests(arguments.requests, arguments.seed, base)
    else:
        target = pack_target(load_pack(arguments.pack))
        cases = world_requests(arguments.requests, arguments.seed, base)
    loads = [int(load) for load in arguments.loads.split(",")]
    given = calibration_of(parser, arguments) if arguments.calibration else None
    config = EngineConfig(max_live=max(8, *loads))
    began = time.perf_counter()
    measurement = Measurement(target, cases, arguments.arms.split(","), loads, arguments.seed)
    with ExitStack() as stack:
        calibrator = None
        if given is None:
            calibrator = stack.enter_context(Calibrator(target, cases, config=config, say=say))
        measurement.open(config, stack)
        for _ in range(arguments.turns):
            if calibrator:
                calibrator.round()
            say("measurement")
            measurement.turn()
        calibration = calibrator.calibration() if calibrator else given
    if arguments.save_calibration:
        calibration.save(arguments.save_calibration)
    rows = compare(calibration, measurement)
    worst = {name: max(abs(row[name]) for row in rows) for name in ("p50_error", "throughput_error")}
    for row in rows:
        say(
            f"{row['arm']:>14} x{row['concurrency']}: p50 {row['measured_p50_ms']:8.1f} ms, simulated "
            f"{row['simulated_p50_ms']:8.1f} ({row['p50_error']:+.1%}); {row['measured_throughput']:6.3f} requests/s, "
            f"simulated {row['simulated_throughput']:6.3f} ({row['throughput_error']:+.1%})"
        )
    file = calibration
    document = {
        "target": target.name,
        "requests": len(cases),
        "seed": arguments.seed,
        "took_s": round(time.perf_counter() - began, 1),
        "critic_slowdown": file.critic_slowdown,
        "generator_rate": file.generator_rate,
        "machine": {name: arm.model_dump() for name, arm in file.arms.items()},
        "rows": rows,
        "worst": worst,
        "limits": {"p50_error": MOST_P50, "throughput_error": MOST_THROUGHPUT},
    }
    holds = worst["p50_error"] <= MOST_P50 and worst["throughput_error"] <= MOST_THROUGHPUT
    return finish(document, holds=holds)


if __name__ == "__main__":
    sys.exit(main())
