"""Roles in PyTorch behind the engine: law 1 against the sequential loop, every call against the native one, the lane's cost.

    python benchmarks/torch_lanes.py --requests 50 --parity 30
    python benchmarks/torch_lanes.py --requests 50 --planner torch:DIR --generator torch:DIR --critic torch:DIR
    python benchmarks/torch_lanes.py --requests 50 --edit-shaped

The models are the embedded pack's, taken back out of it. Arms off, auto and depth=3, with 1 and 8 requests at once, must
give the results of the sequential loop over the same models at batch 1. The overhead is the engine with one request at a
time and nothing overlapped, over that loop, in turns; so is what streaming and speculation gain. Exits with 1 where a
result differs, where the loop over a run's own answers gives another result, or where native and PyTorch calls are further apart than 1/255 a pixel, 1e-3 of p(success) or a word. With roles of your own only the first is looked at; `--edit-shaped` is the embedded planner and critic
with a small generator of the shape of Qwen-Image-Edit and random weights, which sees several pictures at 64 x 64.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import save_qwen_edit
from frame import finish, parser_of, say
from interleave_rt.train.shapes.from_pack import roles_from_pack, write_checkpoints
from lossless import draw_cases
from paired import paired_ratio

from interleave_rt import Engine, load_pack
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.config import EngineConfig, usable_cores
from interleave_rt.measure.arms import NOTHING
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.load import SampleRequest
from interleave_rt.pack import Pack, choose_pack
from interleave_rt.pack.manifest import ROLES
from interleave_rt.roles.base import SharedRules
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference
from interleave_rt.runtimes import PlainRoles, open_backend

ALONE = replace(NOTHING, skip_last_judge=True)


class Compared(SharedRules):
    """The answers of `ours`; what `theirs` answers to the same calls is measured against them."""

    def __init__(self, ours: Any, theirs: Any) -> None:
        self._ours, self._theirs = ours, theirs
        self.calls = {"plan": 0, "generate": 0, "judge": 0}
        self.other_words = self.pixel = 0
        self.p = 0.0

    def plan(self, *call: Any) -> Any:
        made, theirs = self._ours.plan(*call), self._theirs.plan(*call)
        self.calls["plan"] += 1
        self.other_words += made != theirs
        return made

    def generate(self, *call: Any) -> Any:
        made, theirs = self._ours.generate(*call), self._theirs.generate(*call)
        self.calls["generate"] += 1
        self.pixel = max(self.pixel, int(np.abs(made.astype(int) - theirs.astype(int)).max()))
        return made

    def judge(self, *call: Any) -> Any:
        made, theirs = self._ours.judge(*call), self._theirs.judge(*call)
        self.calls["judge"] += 1
        if made is None or theirs is None:
            self.other_words += made is not theirs
        else:
            self.other_words += (made.accepted, made.refined) != (theirs.accepted, theirs.refined)
            self.p = max(self.p, abs(made.p_success - theirs.p_success))
        return made

    def as_dict(self) -> dict[str, Any]:
        far = self.other_words > 0 or self.pixel > 1 or self.p > 1e-3
        return {
            "calls": self.calls,
            "answers_in_other_words": self.other_words,
            "furthest_pixel_of_255": self.pixel,
            "furthest_p_success": self.p,
            "holds": not far and all(self.calls.values()),
        }


def law1(roles: Any, cases: Sequence[SampleRequest]) -> list[dict[str, Any]]:
    """Every arm at both concurrencies, against the sequential loop."""
    expected = [run_reference(case.request, case.options, roles) for case in cases]
    rows = []
    for speculation in ("off", "auto", "depth=3"):
        for at_once in (1, 8):
            backend = OutsideBackend(roles, capacity=2, device="cpu")
            with Engine(backend, EngineConfig(max_live=at_once, max_queued=len(cases))) as engine:
                handles, results = [], []
                for case in cases:
                    options = replace(case.options, speculation=speculation)
                    handle = engine.submit(case.request.text, case.request.images, options=options)
                    handles.append(handle)
                    if at_once == 1:
                        handle.finished(600)
                ended = [handle.finished(600).result for handle in handles]
                results = [one.canonical() for one in ended]
                replayed = sum(engine.replay(one) == one.canonical() for one in ended)
                started = engine.counters()["generator"]["started"]
            equal = sum(one == other for one, other in zip(results, expected, strict=True))
            used = sum(len(step["attempts"]) for one in expected for step in one["steps"])
            rows.append(
                {
                    "arm": speculation,
                    "at_once": at_once,
                    "equal": equal,
                    "replayed": replayed,
                    "requests": len(cases),
                    "images_ahead_in_vain": started - used,
                    "holds": equal == replayed == len(cases),
                }
            )
            say(rows[-1])
    return rows


def costs(roles: Any, cases: Sequence[SampleRequest]) -> dict[str, Any]:
    """Seconds of the bare loop and of engine arms, in turns; of processor time too, which neighbours disturb less."""
    arms = {
        "engine, nothing overlapped": {"speculation": "off", "optimizations": ALONE},
        "engine, plan streamed": {"speculation": "off"},
        "engine, speculation": {"speculation": "auto"},
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("bare loop", *arms)}
    worked: dict[str, list[float]] = {name: [] for name in seconds}
    with Engine(OutsideBackend(roles, device="cpu")) as engine:
        for number, case in enumerate(cases):
            names = list(seconds)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                begun, idle = time.perf_counter(), time.process_time()
                if name == "bare loop":
                    run_reference(case.request, case.options, roles)
                else:
                    options = replace(case.options, **arms[name])
                    engine.run(case.request.text, case.request.images, options=options)
                seconds[name].append(time.perf_counter() - begun)
                worked[name].append(time.process_time() - idle)
    bare = seconds["bare loop"]
    return {
        "overhead_of_the_lane": paired_ratio(seconds["engine, nothing overlapped"], bare).as_dict(),
        "overhead_in_processor_time": paired_ratio(
            worked["engine, nothing overlapped"], worked["bare loop"]
        ).as_dict(),
        "gain_of_streaming": paired_ratio(bare, seconds["engine, plan streamed"]).as_dict(),
        "gain_of_speculation": paired_ratio(
            seconds["engine, plan streamed"], seconds["engine, speculation"]
        ).as_dict(),
        "mean_s": {name: round(float(np.mean(times)), 4) for name, times in seconds.items()},
    }


def outside_the_roles(roles: Any, cases: Sequence[SampleRequest]) -> dict[str, Any]:
    """What a request takes over its calls' own time, one call after the other: hand-off, scheduler, threads, delivery."""
    inside: list[float] = []

    def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(*call: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*call, **more)
            finally:
                inside.append(time.perf_counter() - begun)

        return run

    timed = copy.copy(roles)
    for name in ("plan", "generate", "judge"):
        setattr(timed, name, clocked(getattr(roles, name)))
    whole, own, calls = [], [], 0
    with Engine(OutsideBackend(timed, device="cpu")) as engine:
        for case in cases:
            inside.clear()
            begun = time.perf_counter()
            options = replace(case.options, speculation="off", optimizations=ALONE)
            engine.run(case.request.text, case.request.images, options=options)
            whole.append(time.perf_counter() - begun)
            own.append(sum(inside))
            calls += len(inside)
    return {
        "whole_over_the_calls": paired_ratio(whole, own).as_dict(),
        "ms_a_call": round((sum(whole) - sum(own)) / calls * 1e3, 3),
    }


def edit_shaped(pack: Pack, folder: Path) -> dict[str, str]:
    """What runs each role where the generator has the shape of Qwen-Image-Edit; its pictures are kept small."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as pipeline

    pipeline.VAE_IMAGE_SIZE, pipeline.CONDITION_IMAGE_SIZE = 64 * 64, 56 * 56
    write_checkpoints(pack, folder)
    save_qwen_edit(folder / "edit", "float32", width=128, text=(128, 4))
    return {
        "planner": f"torch:{folder / 'planner'}",
        "generator": f"torch:{folder / 'edit'}",
        "critic": f"torch:{folder / 'critic'}",
    }


def main() -> int:
    parser = parser_of(__doc__, requests=50, output=True)
    parser.add_argument("--parity", type=int, default=30, help="requests whose calls native roles answer too")
    parser.add_argument("--timed", type=int, default=20, help="requests that are timed")
    parser.add_argument("--threads", type=int, default=max(1, usable_cores() // 2), help="of PyTorch")
    parser.add_argument("--device", help="of all three roles; default: the first card, else the CPU")
    for role in ROLES:
        parser.add_argument(
            f"--{role}", help="what runs it in place of the pack's, as `interleave-rt run` takes it"
        )
    parser.add_argument("--prompts", help="as of `interleave-rt run`")
    parser.add_argument("--edit-shaped", action="store_true", help="with a small generator that edits")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    own = {role: getattr(arguments, role) for role in ROLES}
    document: dict[str, Any] = {"seed": arguments.seed, "threads": arguments.threads}
    if any(own.values()) or arguments.edit_shaped:
        cases = draw_cases(arguments.requests, arguments.seed)
        with tempfile.TemporaryDirectory() as folder:
            prompts = arguments.prompts
            if arguments.edit_shaped:
                own, prompts = edit_shaped(load_pack(arguments.pack), Path(folder)), f"{folder}/prompts"
                small = {"width": 64, "height": 64, "denoising_steps": 2}
                cases = [replace(case, options=replace(case.options, **small)) for case in cases]
            backend = open_backend(choose_pack(arguments.pack, prompts=prompts, **own))
            document["roles"] = own
            document["law1"] = law1(PlainRoles(backend), cases)
            backend.detach()
        document["environment"] = describe_environment(gpu=False)
        return finish(document, holds=all(row["holds"] for row in document["law1"]), output=arguments.output)
    pack = load_pack(arguments.pack)
    cases = draw_cases(max(arguments.requests, arguments.parity, arguments.timed), arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        roles = roles_from_pack(pack, Path(folder), device=arguments.device)
        document["law1"] = law1(roles, cases[: arguments.requests])
        both = Compared(NativeRoles(pack, constrained="off"), roles)
        for case in cases[: arguments.parity]:
            run_reference(case.request, case.options, both)
        document["against_native"] = both.as_dict()
        say(document["against_native"])
        document["costs"] = costs(roles, cases[: arguments.timed])
        document["outside_the_roles"] = outside_the_roles(roles, cases[: arguments.timed])
    document["environment"] = describe_environment(gpu=False)
    holds = all(row["holds"] for row in document["law1"]) and document["against_native"]["holds"]
    return finish(document, holds=holds, output=arguments.output)


if __name__ == "__main__":
    sys.exit(main())
