"""How long the lanes wait for an encoding, alone and beside a busy Python thread.

    python benchmarks/text_lane.py --samples 2000

A sample is a text that nobody has asked for before (no cache): from the lane's request to the text broker
until the tokens are back; it is asked for by a thread that needs no GIL, as a lane's is. The Python worker is
the one of every engine. The busy
thread runs pure Python code that never waits, the worst neighbour there is. The target is p50 <= 200 us
quiet, p99 <= 10 ms beside it. Prints one JSON object.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from frame import finish, parser_of, percentile

from interleave_rt import Engine

WORDS = ("put a star left of it", "make it twice as large", "a small green ring", "the blue square again")


@contextmanager
def busy_thread(on: bool) -> Iterator[list[int]]:
    """A thread that computes; yields what it has counted."""
    stop = threading.Event()
    turns = [0]

    def compute() -> None:
        value = 1
        while not stop.is_set():
            for _ in range(1000):
                value = (value * 48271) % 2147483647
            turns[0] += 1000

    thread = threading.Thread(target=compute, daemon=True)
    if on:
        thread.start()
    try:
        yield turns
    finally:
        stop.set()
        if on:
            thread.join()


def measure(engine: Engine, samples: int, busy: bool, name: str) -> dict[str, Any]:
    """Latencies of new prompts (generator) and of new refined prompts with their originals (critic)."""
    core = engine._core  # noqa: SLF001 - a measurement looks inside
    originals = {"generate": None, "judge": "put a star left of the circle"}
    texts = [f"{WORDS[i % len(WORDS)]} {name} {i}" for i in range(samples)]
    latencies: dict[str, list[float]] = {}
    with busy_thread(busy) as turns:
        begin = time.perf_counter()
        for kind, original in originals.items():  # a refined prompt now and then, not a flood
            latencies[kind] = core.encode_latencies_us(texts, original=original, pause_ms=2.0)
        seconds = time.perf_counter() - begin
    figures: dict[str, Any] = {}
    for kind, values in latencies.items():
        figures[kind] = {
            "mean_us": round(statistics.fmean(values), 1),
            "p50_us": round(percentile(values, 0.50), 1),
            "p90_us": round(percentile(values, 0.90), 1),
            "p99_us": round(percentile(values, 0.99), 1),
            "max_us": round(max(values), 1),
        }
    if busy:
        figures["busy_turns_per_s"] = round(turns[0] / seconds)
    return figures


def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__, seed=None, pack=False)
    parser.add_argument("--samples", type=int, default=2000, help="of each kind and neighbourhood")
    parser.add_argument(
        "--switch-interval-ms",
        default="1",
        help="of EngineConfig; 'none' leaves Python's own, 5 (default: %(default)s)",
    )
    args = parser.parse_args()
    interval = None if args.switch_interval_ms == "none" else float(args.switch_interval_ms)
    with Engine.load(threads=1, switch_interval_ms=interval) as engine:
        measure(engine, 50, False, "warm-up")
        report = {
            "samples": args.samples,
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": sys.version.split()[0],
            "switch_interval_ms": sys.getswitchinterval() * 1000,
            "quiet": measure(engine, args.samples, False, "quiet"),
            "busy": measure(engine, args.samples, True, "busy"),
        }
    return finish(report)


if __name__ == "__main__":
    sys.exit(main())
