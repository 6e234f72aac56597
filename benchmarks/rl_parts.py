"""Where the time of an update of `interleave-rt train grpo` goes, and what overlap and memo are worth.

    python benchmarks/rl_parts.py --recipe RECIPE [--updates 4] [--rounds 2] [--arms both,neither]

RECIPE is a recipe of `train grpo` whose base and set are there. Every run is a process of its own, with the same seed and the
same threads; arms take turns (A B A B). Exits with 1 where the arms' weights or curves differ in a bit.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from paired import paired_ratio

ARMS = {
    "neither": {"overlap": False, "memo": False},
    "memo": {"overlap": False, "memo": True},
    "overlap": {"overlap": True, "memo": False},
    "both": {"overlap": True, "memo": True},
}


def train(recipe: str, out: Path, changes: dict[str, Any], threads: int) -> dict[str, Any]:
    """One run: lines of the curve and of the times by update, the hash of the weights."""
    import torch
    from interleave_rt.train.grpo import TIMES, train_grpo
    from interleave_rt.train.recipe import load_grpo
    from interleave_rt.train.record import FOLDER

    from interleave_rt.pack.manifest import hash_file

    torch.set_num_threads(threads)
    cpu = time.process_time()
    train_grpo(load_grpo(recipe).model_copy(update=changes), out)
    curve, times = (_lines(out / FOLDER / name) for name in ("curve.csv", TIMES))
    for line in curve:
        del line["seconds"]
    return {
        "curve": curve,
        "times": [{name: float(value) for name, value in line.items()} for line in times],
        "weights": hash_file(out / "model.safetensors"),
        "cpu_s": time.process_time() - cpu,
    }


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> int:
    """As the module says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--arms", default="neither,both", help=f"of {', '.join(ARMS)}; the first is the baseline"
    )
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, in every arm")
    arguments = parser.parse_args()
    arms = arguments.arms.split(",")
    if unknown := [name for name in arms if name not in ARMS]:
        parser.error(f"--arms: there is no {unknown[0]!r}")
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh,
    ):
        for turn in range(arguments.rounds):
            for arm in arms:
                changes = {"steps": arguments.updates, "save_every": arguments.updates, **ARMS[arm]}
                out = Path(folder) / f"{arm}-{turn}"
                told = fresh.submit(train, arguments.recipe, out, changes, arguments.threads).result()
                runs[arm].append(told)
                seconds = [round(line["seconds"], 2) for line in told["times"]]
                print(f"{arm}: {seconds} s, {told['cpu_s']:.0f} CPU s", file=sys.stderr, flush=True)
    first = runs[arms[0]][0]
    equal = all(
        told["weights"] == first["weights"] and _told(told["curve"]) == _told(first["curve"])
        for found in runs.values()
        for told in found
    )
    seconds = {
        arm: [line["seconds"] for told in found for line in told["times"]] for arm, found in runs.items()
    }
    report = {
        "updates": arguments.updates,
        "rounds": arguments.rounds,
        "threads": {"pytorch": arguments.threads, "usable cores": len(os.sched_getaffinity(0))},
        "load": os.getloadavg()[0],
        "weights and curves equal": equal,
        "arms": {arm: _arm(found) for arm, found in runs.items()},
        "speed-up": {arm: paired_ratio(seconds[arms[0]], seconds[arm]).as_dict() for arm in arms[1:]},
    }
    print(json.dumps(report, indent=1))
    return 0 if equal else 1


def _told(curve: list[dict[str, str]]) -> list[dict[str, str]]:
    """What arms must have in common: all but how many pictures were known."""
    return [{name: value for name, value in line.items() if name != "memo"} for line in curve]


def _arm(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over updates: seconds of an update, and of each part its share."""
    lines = [line for told in runs for line in told["times"]]
    whole = median(line["seconds"] for line in lines)
    parts = [name for name in lines[0] if name not in ("iteration", "seconds")]
    known = [float(line["memo"]) for line in runs[0]["curve"] if line.get("memo")]
    return {
        "update_s": round(whole, 3),
        "parts_s": {name: round(median(line[name] for line in lines), 3) for name in parts},
        "shares": {name: round(median(line[name] / line["seconds"] for line in lines), 3) for name in parts},
        "cpu_s": round(median(told["cpu_s"] for told in runs), 1),
        "known_pictures": [round(share, 3) for share in known],
    }


if __name__ == "__main__":
    sys.exit(main())
