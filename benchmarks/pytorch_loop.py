"""The PyTorch loop beside the native engine, and where the gain comes from.

    python benchmarks/pytorch_loop.py --requests 20

The baseline is the loop over transformers and diffusers on the embedded pack's own weights (KV cache, inference mode,
the best thread count, warm): as the official demo does it (PNG files between the roles, whole answers, the critic asked
after the last try too) and with raw buffers. The native arms run the same requests with the same seeds in the same
turns (A B A B): the plain sequential loop, then the streamed plan with early verdicts, encodings made once and ahead,
speculation. Prints a table whose factors multiply to the whole gain; exits with 1 where the whole is below --target or
the oracle sees another success.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from frame import finish, parser_of, say
from paired import gain_split, paired_ratio, per_request, rotated
from plain_loop import PngDetour, difference, run_plain

from interleave_rt import Engine, Options, Request, load_pack
from interleave_rt.config import usable_cores
from interleave_rt.measure.arms import NOTHING, Threads, thread_splits
from interleave_rt.request import Optimizations
from interleave_rt.worlds.shapes.evaluation.intervals import share
from interleave_rt.worlds.shapes.evaluation.outcomes import step_successes

EARLY = replace(NOTHING, stream_plan=True, early_verdict=True, skip_last_judge=True)
DEMO, BUFFERS = "PyTorch, as the demo", "PyTorch, raw buffers"
Runner = Callable[[Request, Options], Any]
Times = dict[tuple[str, int], list[float]]  # by arm and request, one a turn


@dataclass(frozen=True)
class NativeArm:
    """A setting of the native engine, and the factor of the gain that it adds to the arm before."""

    name: str
    factor: str
    optimizations: Optimizations
    speculation: str


NATIVE = [
    NativeArm("sequential", "graph runtime", NOTHING, "off"),
    NativeArm("+ early ends", "streamed plan, early verdict, last try not judged", EARLY, "off"),
    NativeArm("+ encodings", "encodings made once and ahead", Optimizations(), "off"),
    NativeArm("+ speculation", "speculation", Optimizations(), "auto"),
]
FACTORS = {BUFFERS: "raw buffers for PNG files", **{arm.name: arm.factor for arm in NATIVE}}


def best_of(candidates: Sequence[Any], trial: Callable[[Any], None]) -> tuple[Any, dict[str, float]]:
    """The candidate with the quickest trial, and the times of all; the first trial of each warms it up.

    A candidate that takes three times the best while warming up is not tried again.
    """
    times: dict[str, float] = {}
    for candidate in candidates:
        for warm_up in (True, False):
            started = time.perf_counter()
            trial(candidate)
            times[str(candidate)] = round(time.perf_counter() - started, 4)
            if warm_up and times[str(candidate)] > 3 * min(times.values()):
                break
    return min(candidates, key=lambda candidate: times[str(candidate)]), times


def torch_arms(
    pack: Any, folder: Path, warm: Sequence[tuple[Request, Options]], only: int | None
) -> tuple[Any, Any, Any]:
    """The two baselines at their best thread count, and what was measured to find it; `only`: at this one."""
    import torch
    from interleave_rt.train.shapes.from_pack import load_torch_pack
    from torch_roles import TorchRoles

    roles = TorchRoles(pack, load_torch_pack(pack))

    def buffers(request: Request, options: Options) -> Any:
        return run_plain(request, replace(options, judge_last=True), roles)

    def demo(request: Request, options: Options) -> Any:
        return run_plain(
            request, replace(options, judge_last=True), roles, lambda roles: PngDetour(roles, folder)
        )

    def trial(threads: int) -> None:
        torch.set_num_threads(threads)
        for request, options in warm:
            buffers(request, options)

    cores = usable_cores()
    counts = [only] if only else sorted({1, 2, cores // 2, cores} & set(range(1, cores + 1)))
    threads, tried = best_of(counts, trial)
    torch.set_num_threads(threads)
    return demo, buffers, {"threads": threads, "tried": tried}


def native_engines(
    pack: Any, warm: Sequence[tuple[Request, Options]], only: Threads | None
) -> tuple[dict[str, Engine], Any]:
    """One engine an arm (a shared one's caches would help whoever comes second), with its kind's best threads or `only`."""
    splits = [only] if only else thread_splits()
    chosen, engines = {}, {}

    def opened(split: Threads) -> Engine:
        # transformers' `generate` has no grammar, so neither has the engine here.
        return Engine.load(pack, generator_threads=split.generator, vlm_threads=split.vlm, constrained="off")

    for kind, arm in (("sequential", NATIVE[-2]), ("speculative", NATIVE[-1])):
        made: dict[Threads, Engine] = {}

        def trial(split: Threads, arm: NativeArm = arm, made: dict[Threads, Engine] = made) -> None:
            if split not in made:
                made[split] = opened(split)
            change = {"optimizations": arm.optimizations, "speculation": arm.speculation}
            for request, options in warm:
                made[split].run(request, options=replace(options, **change))

        best, tried = best_of(splits, trial)
        for engine in made.values():
            engine.close()
        for other in NATIVE:
            if (other.speculation == "off") == (kind == "sequential"):
                engines[other.name] = opened(best)
                for request, options in warm:
                    engines[other.name].run(
                        request,
                        options=replace(
                            options, optimizations=other.optimizations, speculation=other.speculation
                        ),
                    )
        chosen[kind] = {"threads (generator+vlm)": str(best), "tried": tried}
    return engines, chosen


def measure(
    arms: dict[str, Runner], cases: Sequence[tuple[Request, Options]], repeats: int
) -> tuple[Times, Times, dict[tuple[str, int], Any]]:
    """Every arm on every request, in turns; seconds of wall and of processor time, and the first result of each."""
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    worked: dict[tuple[str, int], list[float]] = defaultdict(list)
    results: dict[tuple[str, int], Any] = {}
    for repeat in range(repeats):
        for index, (request, options) in enumerate(cases):
            for name in rotated(list(arms), index + repeat):
                started, idle = time.perf_counter(), time.process_time()
                result = arms[name](request, options)
                seconds[name, index].append(time.perf_counter() - started)
                worked[name, index].append(time.process_time() - idle)
                results.setdefault((name, index), result)
            say(f"request {index + 1} of {len(cases)}, turn {repeat + 1}")
    return seconds, worked, results


def success(results: Sequence[Any]) -> dict[str, Any]:
    """What the oracle says: shares of steps and of whole sequences, with 95 % intervals."""
    steps = [step_successes(result) for result in results]
    return {
        "steps": share(ok for one in steps for ok in one).as_dict(),
        "sequences": share(bool(one) and all(one) for one in steps).as_dict(),
    }


def same_success(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether each share lies in the other's interval."""
    return all(
        b["interval"][0] <= a["share"] <= b["interval"][1]
        for kind in ("steps", "sequences")
        for a, b in ((one[kind], two[kind]), (two[kind], one[kind]))
    )


def table(split: Sequence[tuple[str, Any]], whole: Any) -> str:
    """The gain split as text."""
    lines = [f"{'factor':54} {'arm':20} ratio [95 % interval]", "-" * 98]
    lines += [f"{FACTORS[name]:54} {name:20} {ratio}" for name, ratio in split]
    product = float(np.prod([ratio.value for _, ratio in split]))
    lines += ["-" * 98, f"{'product':75} {product:.3f}", f"{'end to end, first arm over last':75} {whole}"]
    return "\n".join(lines)


def main() -> int:
    parser = parser_of(__doc__, requests=20, output=True)
    parser.add_argument("--repeats", type=int, default=1, help="of every request in every arm")
    parser.add_argument("--t-max", type=int, default=5)
    parser.add_argument("--target", type=float, default=3.0, help="what the whole gain must reach")
    parser.add_argument("--speculation", default="auto", help="of the last arm")
    parser.add_argument("--torch-threads", type=int, help="default: the best of a few")
    parser.add_argument("--threads", type=Threads.parse, help="generator+vlm, e.g. 1+1; default: the best")
    arguments = parser.parse_args()
    from interleave_rt.worlds.shapes.requests import sample

    pack = load_pack(arguments.pack)
    wishes = sample("test", arguments.requests + 1, arguments.seed, "narrative")
    cases = [
        (Request(wish.text), Options(seed=arguments.seed * 1000 + index, t_max=arguments.t_max))
        for index, wish in enumerate(wishes)
    ]
    warm, cases = cases[-1:], cases[:-1]
    with tempfile.TemporaryDirectory() as folder:
        demo, buffers, torch_setting = torch_arms(pack, Path(folder), warm, arguments.torch_threads)
        engines, native_setting = native_engines(pack, warm, arguments.threads)
        arms: dict[str, Runner] = {DEMO: demo, BUFFERS: buffers}
        for arm in NATIVE:
            speculation = arm.speculation if arm.speculation == "off" else arguments.speculation
            engine = engines[arm.name]
            change = {"optimizations": arm.optimizations, "speculation": speculation}
            arms[arm.name] = lambda request, options, engine=engine, change=change: engine.run(
                request, options=replace(options, **change)
            )
        say(f"seed {arguments.seed}; {torch_setting}; {native_setting}")
        seconds, worked, results = measure(arms, cases, arguments.repeats)
        for engine in engines.values():
            engine.close()
    summary = summarize(arguments, cases, seconds, worked, results)
    summary["settings"] = {"torch": torch_setting, "native": native_setting, "seed": arguments.seed}
    summary["environment"] = environment()
    say(summary["table"])
    holds = summary["target_met"] and summary["same_success"] and summary["native_arms_equal"]
    return finish(summary, holds=holds, output=arguments.output)


def summarize(
    arguments: argparse.Namespace,
    cases: Sequence[tuple[Request, Options]],
    seconds: Times,
    worked: Times,
    results: dict[tuple[str, int], Any],
) -> dict[str, Any]:
    """Ratios, equality of results and the oracle's judgement."""
    count = len(cases)
    names = [DEMO, BUFFERS, *(arm.name for arm in NATIVE)]
    times = {name: per_request(seconds, name, count) for name in names}
    cpu = {name: per_request(worked, name, count) for name in names}
    split = gain_split([(name, times[name]) for name in names])
    whole = paired_ratio(times[DEMO], times[names[-1]])
    oracle = {name: success([results[name, i] for i in range(count)]) for name in names}
    last = names[-1]
    apart = [difference(results[last, i], results[DEMO, i]) for i in range(count)]
    raw_apart = [difference(results[last, i], results[BUFFERS, i]) for i in range(count)]
    native = [
        all(results[arm.name, i].canonical() == results[last, i].canonical() for arm in NATIVE)
        for i in range(count)
    ]
    return {
        "table": table(split, whole),
        "requests": count,
        "e2e_ms": {
            name: {"p50": round(float(np.median(t)) * 1e3, 2), "mean": round(float(np.mean(t)) * 1e3, 2)}
            for name, t in times.items()
        },
        # Of all threads: neighbours disturb it less than the wall time.
        "cpu_ms": {name: round(float(np.mean(t)) * 1e3, 2) for name, t in cpu.items()},
        "whole_of_cpu_time": paired_ratio(cpu[DEMO], cpu[last]).as_dict(),
        "gain": {name: ratio.as_dict() for name, ratio in split},
        "factors": FACTORS,
        "whole": whole.as_dict(),
        "over_raw_buffers": paired_ratio(times[BUFFERS], times[last]).as_dict(),
        "png_in_pytorch": paired_ratio(times[DEMO], times[BUFFERS]).as_dict(),
        "target": arguments.target,
        "target_met": whole.value >= arguments.target,
        "equal_to_pytorch": {
            "requests": count,
            "as the demo": sum(found is None for found in apart),
            "raw buffers": sum(found is None for found in raw_apart),
            "differences": [f"request {i}: {found}" for i, found in enumerate(apart) if found][:10],
        },
        "native_arms_equal": all(native),
        "oracle": oracle,
        "same_success": same_success(oracle[DEMO], oracle[last]),
    }


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    import diffusers
    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "load_average": round(os.getloadavg()[0], 2),
        **{library.__name__: library.__version__ for library in (torch, transformers, diffusers)},
    }


if __name__ == "__main__":
    sys.exit(main())
