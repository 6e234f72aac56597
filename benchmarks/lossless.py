"""Law 1 by command: every optimisation, alone and together, against the sequential reference loop.

    python benchmarks/lossless.py --requests 300

Requests come from the shapes world (seeded); T_max, keep and judge_last are drawn per request. Each arm runs all of
them at every concurrency; its canonical results must equal the reference's, all of them, and so must those of the
loop whose pictures pass through PNG. Prints one JSON object and exits with 1 where anything differs, less than 99 % of the requests finish, or nothing was run.
"""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from frame import finish, parser_of, say
from plain_loop import PngDetour

from interleave_rt import Engine, InterleaveError, Options, Pack, Request, Result, load_pack
from interleave_rt.measure.arms import NOTHING, Arm
from interleave_rt.measure.load import SampleRequest
from interleave_rt.prove import difference
from interleave_rt.request import Optimizations
from interleave_rt.roles import Roles
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference

ARMS = [
    Arm("off", "off", Optimizations(), batching=True),
    Arm("auto", "auto", Optimizations(), batching=True),
    Arm("depth=3", "depth=3", Optimizations(), batching=True),
    Arm("none", "off", NOTHING, batching=False),
    *(
        Arm(f"{name} alone", "off", replace(NOTHING, **{name: True}), batching=False)
        for name in Optimizations.__dataclass_fields__
    ),
    Arm("speculation alone", "depth=1", NOTHING, batching=False),
    Arm("batching alone", "off", NOTHING, batching=True),
]
PNG = "PNG between the roles"


def draw_cases(count: int, seed: int) -> list[SampleRequest]:
    """Requests of the test split, one in five with pictures; the same for the same arguments."""
    from interleave_rt.worlds.shapes.requests import sample
    from interleave_rt.worlds.shapes.scene import drawn_story

    rng = random.Random(f"lossless/{seed}")
    pictured = count // 5
    found = sample("test", count - pictured, seed, "narrative") + sample("test", pictured, seed, "guidance")
    rng.shuffle(found)
    return [
        SampleRequest(
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


def references(
    pack: Pack, cases: Sequence[SampleRequest], through: Callable[[Roles], Roles] = lambda roles: roles
) -> list[dict[str, Any]]:
    """The canonical results of the sequential loop; a failure is its code."""
    roles = through(NativeRoles(pack))
    found = []
    for case in cases:
        try:
            found.append(run_reference(case.request, case.options, roles))
        except InterleaveError as error:
            found.append({"failed": error.code})
    return found


def run_arm(
    engine: Engine, arm: Arm, cases: Sequence[SampleRequest], concurrency: int
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
            options = replace(case.options, speculation=arm.speculation, optimizations=arm.optimizations)
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


def shares(wanted: Sequence[dict[str, Any]], cases: Sequence[SampleRequest]) -> dict[str, float]:
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
    engine: Engine,
    arm: Arm,
    cases: Sequence[SampleRequest],
    wanted: Sequence[dict[str, Any]],
    concurrency: int,
) -> dict[str, Any]:
    """Runs an arm and counts."""
    started = time.perf_counter()
    results = run_arm(engine, arm, cases, concurrency)
    seconds = time.perf_counter() - started
    done = [result for result in results if isinstance(result, Result)]
    return {
        **counted(arm.name, concurrency, cases, list(map(canonical, results)), wanted, seconds),
        "speculative": sum(result.speculation.started for result in done),
        "discarded": sum(result.speculation.wasted for result in done),
    }


def counted(
    arm: str,
    concurrency: int,
    cases: Sequence[SampleRequest],
    found: Sequence[dict[str, Any]],
    wanted: Sequence[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    """One row: how many of the results are the reference's."""
    apart = [index for index, (one, want) in enumerate(zip(found, wanted, strict=True)) if one != want]
    first = None
    if apart:
        index = apart[0]
        first = f"request {index} ({cases[index].request.text!r}){difference(found[index], wanted[index])}"
    return {
        "arm": arm,
        "concurrency": concurrency,
        "requests": len(cases),
        "equal": len(cases) - len(apart),
        "finished": sum("failed" not in one for one in found),
        "seconds": round(seconds, 2),
        "first_difference": first,
    }


def main() -> int:
    parser = parser_of(__doc__, requests=300)
    parser.add_argument("--concurrency", default="1,8")
    parser.add_argument("--arms", default="", help="names, separated by commas; default: all")
    arguments = parser.parse_args()
    known = [*(arm.name for arm in ARMS), PNG]
    names = [name.strip() for name in arguments.arms.split(",") if name.strip()] or known
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no arm {unknown[0]!r}; arms are {', '.join(known)}")
    pack = load_pack(arguments.pack)
    cases = draw_cases(arguments.requests, arguments.seed)
    say(f"{len(cases)} requests, seed {arguments.seed}: reference loop")
    wanted = references(pack, cases)
    rows = []
    for batching in (True, False):
        with Engine.load(pack, batching=batching, max_live=16) as engine:
            for arm in ARMS:
                if arm.batching is not batching or arm.name not in names:
                    continue
                for concurrency in map(int, arguments.concurrency.split(",")):
                    rows.append(compare(engine, arm, cases, wanted, concurrency))
                    say(rows[-1])
    if PNG in names:  # the loop itself by a detour that the engine does not take
        started = time.perf_counter()
        through = references(pack, cases, PngDetour)
        rows.append(counted(PNG, 1, cases, through, wanted, time.perf_counter() - started))
        say(rows[-1])
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
        "discarded_speculative_calls": sum(row.get("discarded", 0) for row in rows),
        "arms": rows,
    }
    return finish(summary, holds=0 < total == summary["equal"] and summary["finished"] >= 0.99 * total)


if __name__ == "__main__":
    sys.exit(main())
