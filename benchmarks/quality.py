"""What the embedded trio can do, judged by the oracle of the shapes world, through the native engine.

    python benchmarks/quality.py --requests 300

Rows: held-out narrative plans that give the wanted scene after every step; one generator call with explicit prompts
on sources that the generator made itself; step success of the loop at T_max 5 over T_max 1. A step succeeds when its
final image shows, cleanly, what the plan's prompt means on the image before it. Prints one JSON object with 95 %
Wilson intervals; exits with 1 where a row misses its target.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from interleave_rt.train.shapes import oracle
from interleave_rt.train.shapes.grammar import apply, explicit
from interleave_rt.train.shapes.requests import Request as Wish
from interleave_rt.train.shapes.requests import sample
from interleave_rt.train.shapes.transitions import random_transition

from interleave_rt import Engine, InterleaveError, Options, Pack, Result, load_pack
from interleave_rt.reference_roles import NativeRoles

TARGETS = {"plans_exact": 0.85, "explicit_calls": 0.90, "loop_gain": 0.10}


def share(hits: Iterable[bool]) -> dict[str, Any]:
    """A share with its 95 % Wilson interval."""
    found = list(hits)
    n, z = len(found), 1.959964
    if not n:
        return {"n": 0, "share": None, "interval": None}
    p = sum(found) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"n": n, "share": round(p, 4), "interval": [round(middle - half, 4), round(middle + half, 4)]}


def plan_exact(result: Result, wish: Wish) -> bool:
    """Whether the plan's prompts, carried out to the letter, give the wanted scene after every step."""
    scene = None
    steps = [step.plan for step in result.steps]
    if len(steps) != len(wish.scenes) or result.plan_truncated:
        return False
    for step, wanted in zip(steps, wish.scenes, strict=True):
        scene = apply(scene, step.prompt) if step.prompt else None
        if scene is None or scene != wanted:
            return False
    return True


def step_successes(result: Result) -> list[bool]:
    """For each image step: does its final image show what the prompt means on the image before it?"""
    before = None
    found = []
    for step in result.steps:
        if step.plan.prompt is None or step.pixels is None:
            continue
        wanted = apply(before, step.plan.prompt)
        found.append(wanted is not None and oracle.matches(step.pixels, wanted))
        before = oracle.read(step.pixels).scene
    return found


def run_all(engine: Engine, wishes: Sequence[Wish], t_max: int, seed: int) -> list[Result | None]:
    """Every wish once, eight at a time; None where a request failed."""

    def run(index: int) -> Result | None:
        try:
            return engine.run(wishes[index].text, options=Options(seed=seed + index, t_max=t_max))
        except InterleaveError as error:
            print(f"request {index} failed: {error}", file=sys.stderr)
            return None

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(len(wishes))))


def explicit_calls(pack: Pack, count: int, seed: int) -> list[bool]:
    """Single calls with explicit prompts; sources are clean pictures that the generator made in 1-3 calls."""
    roles = NativeRoles(pack)
    rng = random.Random(f"explicit/{seed}")
    options = Options()
    found: list[bool] = []
    while len(found) < count:
        image, scene = None, None
        for depth in range(1 + rng.randint(1, 3)):
            transition = random_transition(rng, None if scene else "draw", scene=scene)
            image = roles.generate(explicit(transition), image, rng.getrandbits(63), options)
            right = oracle.matches(image, transition.after)
            scene = transition.after
            if depth > 0:
                found.append(right)
            if not right or not scene.occupied:  # the next call needs a clean source, not an empty one
                break
    return found[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300, help="sequences, and calls of the generator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pack", help="default: the embedded one")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    wishes = sample("test", arguments.requests, arguments.seed, "narrative")
    loops: dict[int, dict[str, Any]] = {}
    plans: list[bool] = []
    with Engine.load(pack) as engine:
        for t_max in (1, 3, 5):
            results = run_all(engine, wishes, t_max, arguments.seed * 1_000_000)
            if t_max == 1:
                plans = [r is not None and plan_exact(r, w) for r, w in zip(results, wishes, strict=True)]
            steps = [step_successes(r) if r is not None else [] for r in results]
            loops[t_max] = {
                "step_success": share(ok for one in steps for ok in one),
                "sequence_success": share(bool(one) and all(one) for one in steps),
                "attempts_per_step": round(
                    sum(len(s.attempts) for r in results if r for s in r.steps)
                    / max(1, sum(map(len, steps))),
                    3,
                ),
            }
            print(f"T_max {t_max}: {loops[t_max]}", file=sys.stderr)
    calls = explicit_calls(pack, arguments.requests, arguments.seed)
    gain = loops[5]["step_success"]["share"] - loops[1]["step_success"]["share"]
    summary = {
        "pack": dict(pack.info()),
        "seed": arguments.seed,
        "plans_exact": share(plans),
        "explicit_calls": share(calls),
        "loop": {f"t_max_{t}": figures for t, figures in loops.items()},
        "loop_gain": round(gain, 4),
        "targets": TARGETS,
    }
    print(json.dumps(summary, indent=2))
    met = (
        summary["plans_exact"]["share"] >= TARGETS["plans_exact"]
        and summary["explicit_calls"]["share"] >= TARGETS["explicit_calls"]
        and gain >= TARGETS["loop_gain"]
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
