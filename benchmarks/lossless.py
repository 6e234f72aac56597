"""Law 1 by command: every latency device, alone and together, against the sequential reference loop.

    python benchmarks/lossless.py --requests 300

Requests come from the shapes world (seeded); T_max, keep and judge_last are drawn per request. Each arm runs all of
them at every concurrency; its canonical results must equal the reference's, all of them. Prints one JSON object and
exits with 1 where anything differs, less than 99 % of the requests finish, or nothing was run.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from interleave_rt import Engine, InterleaveError, Options, Pack, Request, Result, load_pack
from interleave_rt.prove import difference
from interleave_rt.request import Devices
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference

NONE = Devices(*(False,) * 5)
SWITCHES = {
    "S1": "stream_plan",
    "S3": "early_verdict",
    "S4": "skip_last_judge",
    "S5": "encode_text_ahead",
    "S6": "cache_vision",
}


@dataclass(frozen=True)
class Arm:
    """One setting of the latency devices."""

    name: str
    speculation: str
    devices: Devices
    batching: bool


ARMS = [
    Arm("off", "off", Devices(), True),
    Arm("auto", "auto", Devices(), True),
    Arm("depth=3", "depth=3", Devices(), True),
    *(Arm(f"{s} alone", "off", replace(NONE, **{field: True}), False) for s, field in SWITCHES.items()),
    Arm("S2 alone", "depth=1", NONE, False),
    Arm("S8 alone", "off", NONE, True),
]


@dataclass(frozen=True)
class Case:
    """One request with its options; speculation and devices are the arm's."""

    request: Request
    options: Options


def draw_cases(count: int, seed: int) -> list[Case]:
    """Requests of the test split, one in five with pictures; the same for the same arguments."""
    from interleave_rt.worlds.shapes.requests import sample
    from interleave_rt.worlds.shapes.scene import drawn_story

    rng = random.Random(f"lossless/{seed}")
    pictured = count // 5
    found = sample("test", count - pictured, seed, "narrative") + sample("test", pictured, seed, "guidance")
    rng.shuffle(found)
    return [
        Case(
            Request(one.text, tuple(drawn_story(one.images, rng))),
            Options(
                seed=rng.randrange(2**32),
                t_max=rng.choice((1, 2, 3, 5)),
                keep=rng.choice(("last", "last", "last", "best")),
                judge_last=rng.random() < 0.2,
            ),
        )
        for one in found
    ]


def references(pack: Pack, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The canonical results of the sequential loop; a failure is its code."""
    roles = NativeRoles(pack)
    found = []
    for case in cases:
        try:
            found.append(run_reference(case.request, case.options, roles))
        except InterleaveError as error:
            found.append({"failed": error.code})
    return found


def run_arm(
    engine: Engine, arm: Arm, cases: Sequence[Case], concurrency: int
) -> list[Result | InterleaveError]:
    """Runs all cases, `concurrency` at a time, in order of submission."""
    results: list[Result | InterleaveError | None] = [None] * len(cases)
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        todo.put(index)

    def work() -> None:
        while True:
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            case = cases[index]
            options = replace(case.options, speculation=arm.speculation, devices=arm.devices)
            try:
                results[index] = engine.run(case.request, options=options)
            except InterleaveError as error:
                results[index] = error

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def canonical(result: Result | InterleaveError) -> dict[str, Any]:
    """What is compared with the reference."""
    return result.canonical() if isinstance(result, Result) else {"failed": result.code}


def shares(wanted: Sequence[dict[str, Any]], cases: Sequence[Case]) -> dict[str, float]:
    """How demanding the requests are: a law that is never tried is no law."""
    refused, exhausted = 0, 0
    for result, case in zip(wanted, cases, strict=True):
        steps = result.get("steps", [])
        verdicts = [a["verdict"] for s in steps for a in s["attempts"] if a["verdict"]]
        refused += any(not verdict["accepted"] for verdict in verdicts)
        exhausted += any(len(s["attempts"]) == case.options.t_max > 1 for s in steps)
    count = max(1, len(cases))
    return {"with_a_rejection": refused / count, "reaching_t_max": exhausted / count}


def compare(
    engine: Engine, arm: Arm, cases: Sequence[Case], wanted: Sequence[dict[str, Any]], concurrency: int
) -> dict[str, Any]:
    """Runs an arm and counts."""
    started = time.perf_counter()
    results = run_arm(engine, arm, cases, concurrency)
    seconds = time.perf_counter() - started
    first = None
    equal = 0
    for index, (result, want) in enumerate(zip(results, wanted, strict=True)):
        found = canonical(result)
        equal += found == want
        if found != want and first is None:
            first = f"request {index} ({cases[index].request.text!r}){difference(found, want)}"
    done = [result for result in results if isinstance(result, Result)]
    return {
        "arm": arm.name,
        "concurrency": concurrency,
        "requests": len(cases),
        "equal": equal,
        "finished": len(done),
        "speculative": sum(result.speculation.started for result in done),
        "discarded": sum(result.speculation.discarded for result in done),
        "seconds": round(seconds, 2),
        "first_difference": first,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency", default="1,8")
    parser.add_argument("--arms", default="", help="names, separated by commas; default: all")
    parser.add_argument("--pack", help="default: the embedded one")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.arms.split(",") if name.strip()]
    known = [arm.name for arm in ARMS]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no arm {unknown[0]!r}; arms are {', '.join(known)}")
    pack = load_pack(arguments.pack)
    cases = draw_cases(arguments.requests, arguments.seed)
    print(f"{len(cases)} requests, seed {arguments.seed}: reference loop", file=sys.stderr)
    wanted = references(pack, cases)
    rows = []
    for batching in (True, False):
        with Engine.load(pack, batching=batching, max_live=16) as engine:
            for arm in ARMS:
                if arm.batching is not batching or (names and arm.name not in names):
                    continue
                for concurrency in map(int, arguments.concurrency.split(",")):
                    rows.append(compare(engine, arm, cases, wanted, concurrency))
                    print(json.dumps(rows[-1]), file=sys.stderr)
    total = sum(row["requests"] for row in rows)
    summary = {
        "pack": pack.info()["name"],
        "lossless": pack.info()["lossless"],
        "requests": len(cases),
        "seed": arguments.seed,
        "runs": total,
        "equal": sum(row["equal"] for row in rows),
        "finished": sum(row["finished"] for row in rows),
        **shares(wanted, cases),
        "discarded_speculative_calls": sum(row["discarded"] for row in rows),
        "arms": rows,
    }
    print(json.dumps(summary, indent=2))
    return 0 if 0 < total == summary["equal"] and summary["finished"] >= 0.99 * total else 1


if __name__ == "__main__":
    sys.exit(main())
