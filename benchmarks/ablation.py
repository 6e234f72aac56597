"""What each latency device is worth: one row for each of S1 to S8.

    python benchmarks/ablation.py --requests 20                      # embedded pack
    python benchmarks/ablation.py --runtime scripted --requests 20   # S1 to S4 at the ratios of real models

Two questions a row: how much longer does a request take with all devices but this one (against all), and how much
shorter with this one alone (against none). Arms run the same requests in turns; ratios are medians over requests, with
95 % bootstrap intervals; above 1 the device helps. S8 (batching) acts on requests in company: its closed-loop row keeps
--concurrency requests under way and compares wall times of blocks. Exits with 1 where two arms give different results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paired import rotated

from interleave_rt import Options, load_pack
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.measure.arms import Arm, Engines, PackTarget, ScriptedTarget, Target, Threads
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.record import RequestRecord, closed_loop, run_request
from interleave_rt.measure.requests import SampleRequest, numbered_requests, world_requests
from interleave_rt.measure.statistics import Ratio, median_ratio
from interleave_rt.request import Devices

SWITCHES = {
    "S1": ("stream_plan", "the plan is streamed"),
    "S2": ("", "speculation: the next step starts while the critic judges"),
    "S3": ("early_verdict", "an accepted verdict ends the answer"),
    "S4": ("skip_last_judge", "the last try is not judged"),
    "S5": ("encode_text_ahead", "texts are encoded ahead"),
    "S6": ("cache_vision", "vision features and source latents are made once"),
    "S8": ("", "sequences of requests and speculative steps share a batch"),
}
SCRIPTED = ("S1", "S2", "S3", "S4")  # made-up roles have no text, features or pictures to save
NONE = Devices(*(False,) * len(Devices.__dataclass_fields__))


def arms_of(devices: Sequence[str], speculation: str, *, batching: bool) -> dict[str, Arm]:
    """`all`, `none`, and for every device `all - Sx` and `Sx alone`; `batching`: whether `all` has S8."""
    whole = Arm("all", speculation, Devices(), batching)
    nothing = Arm("none", "off", NONE, batching=False)
    arms = {"all": whole, "none": nothing}
    for name in devices:
        field = SWITCHES[name][0]
        if field:
            less = replace(whole, devices=replace(whole.devices, **{field: False}))
            alone = replace(nothing, devices=replace(NONE, **{field: True}))
        elif name == "S2":
            less, alone = replace(whole, speculation="off"), replace(nothing, speculation=speculation)
        else:
            less, alone = replace(whole, batching=False), replace(nothing, batching=True)
        arms[f"all - {name}"] = replace(less, name=f"all - {name}")
        arms[f"{name} alone"] = replace(alone, name=f"{name} alone")
    return arms


def single_stream(
    engines: Engines, arms: dict[str, Arm], cases: Sequence[SampleRequest], threads: Threads | None
) -> tuple[dict[str, list[float]], set[int]]:
    """Seconds by arm and request, one request at a time; and the requests on which arms differ."""
    times: dict[str, list[float]] = defaultdict(list)
    digests: dict[int, set[str]] = defaultdict(set)
    for arm in arms.values():
        run_request(engines.of(arm, threads), arm, 0, cases[0])  # warm-up, not counted
    for index, case in enumerate(cases):
        for name in rotated(list(arms), index):
            record = run_request(engines.of(arms[name], threads), arms[name], index, case)
            times[name].append(record.e2e_s)
            digests[index].add(_digest(record))
        print(f"\rsingle stream: request {index + 1} of {len(cases)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return times, {index for index, found in digests.items() if len(found) > 1}


def in_company(
    engines: Engines,
    arms: dict[str, Arm],
    cases: Sequence[SampleRequest],
    threads: Threads | None,
    *,
    concurrency: int,
    blocks: int,
) -> tuple[dict[str, list[float]], set[int]]:
    """Wall seconds of blocks in which `concurrency` requests are always under way."""
    times: dict[str, list[float]] = defaultdict(list)
    digests: dict[int, set[str]] = defaultdict(set)
    numbered = list(enumerate(cases))
    for turn in range(blocks):
        for name in rotated(list(arms), turn):
            engine = engines.of(arms[name], threads)
            records = closed_loop(engine, arms[name], numbered, concurrency)
            began = min(record.submitted for record in records)
            times[name].append(max(record.ended for record in records) - began)
            for record in records:
                digests[record.index].add(_digest(record))
        print(f"\rclosed loop: block {turn + 1} of {blocks}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return times, {index for index, found in digests.items() if len(found) > 1}


def _digest(record: RequestRecord) -> str:
    if not record.finished:
        raise RuntimeError(f"request {record.index} did not finish: {record.outcome} {record.message}")
    return record.digest


def rows(devices: Sequence[str], times: dict[str, list[float]], scenario: str) -> list[dict[str, Any]]:
    """One row a device."""
    found = []
    for name in devices:
        less = median_ratio(times[f"all - {name}"], times["all"])
        alone = median_ratio(times["none"], times[f"{name} alone"])
        assert less is not None
        assert alone is not None
        found.append(
            {
                "device": name,
                "what": SWITCHES[name][1],
                "scenario": scenario,
                "without_it": less.as_dict(),
                "alone": alone.as_dict(),
            }
        )
    whole = median_ratio(times["none"], times["all"])
    assert whole is not None
    found.append(
        {"device": "all", "what": "none against all", "scenario": scenario, "alone": whole.as_dict()}
    )
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    head = f"{'':4} {'scenario':15} {'all but it / all':24} {'none / it alone':24} device"
    lines = [head, "-" * (len(head) + 50)]
    for row in found:
        cells = [_cell(row.get(key)) for key in ("without_it", "alone")]
        lines.append(f"{row['device']:4} {row['scenario']:15} {cells[0]:24} {cells[1]:24} {row['what']}")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    text = f"{found['ratio']:.3f}"
    return text if found["low"] is None else f"{text} [{found['low']:.3f}, {found['high']:.3f}]"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtime", choices=("pack", "scripted"), default="pack")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--devices", default="", help="e.g. S1,S3; default: all that act")
    parser.add_argument("--speculation", default="auto", help="what S2 stands for: auto or depth=K")
    parser.add_argument("--t-max", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=8, help="of the closed loop; 0: leave it out")
    parser.add_argument("--blocks", type=int, default=5, help="of the closed loop, in each arm")
    parser.add_argument(
        "--threads", type=Threads.parse, help="generator+vlm, e.g. 2+2; default: the engine's"
    )
    parser.add_argument("--accept-prob", type=float, default=0.8, help="scripted: of the critic")
    parser.add_argument("--scale", type=float, default=1.0, help="scripted: times all latencies")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--pack", help="default: the embedded one")
    arguments = parser.parse_args()
    scripted = arguments.runtime == "scripted"
    acting = SCRIPTED if scripted else tuple(SWITCHES)
    devices = [name for name in arguments.devices.split(",") if name] or list(acting)
    if not set(devices) <= set(acting):
        parser.error(f"--devices: {arguments.runtime} has {', '.join(acting)}")
    options = Options(t_max=arguments.t_max)
    draw = numbered_requests if scripted else world_requests
    cases = draw(arguments.requests, arguments.seed, options)
    with Engines(_target(arguments), EngineConfig(max_live=max(8, arguments.concurrency))) as engines:
        arms = arms_of(devices, arguments.speculation, batching=not scripted)
        times, apart = single_stream(engines, arms, cases, arguments.threads)
        found = rows(devices, times, "single-stream")
        if "S8" in devices and arguments.concurrency > 1:
            arms = arms_of(["S8"], arguments.speculation, batching=True)
            company, more = in_company(
                engines,
                arms,
                cases,
                arguments.threads,
                concurrency=arguments.concurrency,
                blocks=arguments.blocks,
            )
            apart |= more
            found += rows(["S8"], company, f"closed loop, {arguments.concurrency}")
    summary = {
        "runtime": arguments.runtime,
        "seed": arguments.seed,
        "requests": len(cases),
        "speculation": arguments.speculation,
        "rows": found,
        "p50_ms": {name: _p50(values) for name, values in times.items()},
        "requests_that_differ": sorted(apart),
        "environment": describe_environment(gpu=False),
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    print(f"seed {arguments.seed}; {len(cases)} requests; requests with different results: {len(apart)}")
    return 1 if apart else 0


def _p50(values: Sequence[float]) -> float:
    middle: Ratio | None = median_ratio(values, [1.0] * len(values))
    assert middle is not None
    return round(middle.ratio * 1e3, 3)


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.runtime == "pack":
        return PackTarget(load_pack(arguments.pack))
    scale = arguments.scale
    return ScriptedTarget(
        Script(
            planner_ms=160 * scale,
            first_step_ms=40 * scale,
            generator_ms=60 * scale,
            denoise_steps=4,
            critic_ms=60 * scale,
            verdict_ms=40 * scale,
            min_steps=5,
            max_steps=5,
            accept_prob=arguments.accept_prob,
            seed=arguments.seed,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
