"""What each optimisation is worth: one row for each.

    python benchmarks/ablation.py --requests 20                      # embedded pack
    python benchmarks/ablation.py --runtime scripted --requests 20   # those that act on them, at the ratios of real models

Two questions a row: how much longer does a request take with all of them but this one (against all), and how much
shorter with this one alone (against none). Arms run the same requests in turns; ratios are medians over requests, with
95 % bootstrap intervals; above 1 it helps. Batching acts on requests in company: its closed-loop row keeps
--concurrency requests under way and compares wall times of blocks. Raw buffers have no switch: the row compares the
plain loop with the same one whose pictures pass through PNG. Exits with 1 where two arms give different results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from frame import finish, parser_of, ratios_of_real_models, say
from paired import rotated
from plain_loop import PngDetour

from interleave_rt import Options, load_pack
from interleave_rt.config import EngineConfig
from interleave_rt.measure.arms import NOTHING, Arm, Engines, Target, Threads, pack_target, scripted_target
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.load import SampleRequest, numbered_requests, world_requests
from interleave_rt.measure.record import RequestRecord, closed_loop, run_request
from interleave_rt.measure.statistics import Ratio, median_ratio
from interleave_rt.request import Optimizations
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference

SWITCHES = {
    "stream_plan": "the plan is streamed",
    "speculation": "the next step starts while the critic judges",
    "early_verdict": "an accepted verdict ends the answer",
    "skip_last_judge": "the last try is not judged",
    "encode_text_ahead": "texts are encoded ahead",
    "cache_vision": "vision features and source latents are made once",
    "batching": "sequences of requests and speculative steps share a batch",
}
RAW = "raw_images"
# Made-up roles have no text, features or pictures to save.
SCRIPTED = ("stream_plan", "speculation", "early_verdict", "skip_last_judge")


def arms_of(names: Sequence[str], speculation: str, *, batching: bool) -> dict[str, Arm]:
    """`all`, `none`, and for every name `all - NAME` and `NAME alone`; `batching`: whether `all` has it."""
    whole = Arm("all", speculation, Optimizations(), batching)
    nothing = Arm("none", "off", NOTHING, batching=False)
    arms = {"all": whole, "none": nothing}
    for name in names:
        if name == "speculation":
            less, alone = replace(whole, speculation="off"), replace(nothing, speculation=speculation)
        elif name == "batching":
            less, alone = replace(whole, batching=False), replace(nothing, batching=True)
        else:
            less = replace(whole, optimizations=replace(whole.optimizations, **{name: False}))
            alone = replace(nothing, optimizations=replace(NOTHING, **{name: True}))
        arms[f"all - {name}"] = replace(less, name=f"all - {name}")
        arms[f"{name} alone"] = replace(alone, name=f"{name} alone")
    return arms


def raw_images(roles: Any, cases: Sequence[SampleRequest]) -> tuple[dict[str, Any], set[int]]:
    """The row of raw buffers: the plain loop with and without PNG, in turns; and the requests on which they differ."""
    loops = {"raw": roles, "png": PngDetour(roles)}
    times: dict[str, list[float]] = {name: [] for name in loops}
    apart = set()
    run_reference(cases[0].request, cases[0].options, roles)  # warm-up, not counted
    for index, case in enumerate(cases):
        results = {}
        for name in rotated(list(loops), index):
            began = time.perf_counter()
            results[name] = run_reference(case.request, case.options, loops[name])
            times[name].append(time.perf_counter() - began)
        if results["raw"] != results["png"]:
            apart.add(index)
    return _row(
        RAW, "raw buffers, no PNG between the roles", "plain loop", alone=(times["png"], times["raw"])
    ), apart


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
    return times, {index for index, found in digests.items() if len(found) > 1}


def _digest(record: RequestRecord) -> str:
    if not record.finished:
        raise RuntimeError(f"request {record.index} did not finish: {record.outcome} {record.message}")
    return record.digest


def rows(names: Sequence[str], times: dict[str, list[float]], scenario: str) -> list[dict[str, Any]]:
    """One row each, and one for all of them together."""
    found = [
        _row(
            name,
            SWITCHES[name],
            scenario,
            without_it=(times[f"all - {name}"], times["all"]),
            alone=(times["none"], times[f"{name} alone"]),
        )
        for name in names
    ]
    return [*found, _row("all", "none against all", scenario, alone=(times["none"], times["all"]))]


def _row(
    name: str, what: str, scenario: str, **pairs: tuple[Sequence[float], Sequence[float]]
) -> dict[str, Any]:
    ratios = {key: median_ratio(*pair) for key, pair in pairs.items()}
    assert all(ratios.values())
    found = {key: ratio.as_dict() for key, ratio in ratios.items() if ratio}
    return {"optimization": name, "what": what, "scenario": scenario, **found}


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    head = f"{'':18} {'scenario':15} {'all but it / all':24} {'none / it alone':24} what"
    lines = [head, "-" * (len(head) + 50)]
    for row in found:
        cells = [_cell(row.get(key)) for key in ("without_it", "alone")]
        lines.append(
            f"{row['optimization']:18} {row['scenario']:15} {cells[0]:24} {cells[1]:24} {row['what']}"
        )
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    text = f"{found['ratio']:.3f}"
    return text if found["low"] is None else f"{text} [{found['low']:.3f}, {found['high']:.3f}]"


def main() -> int:
    parser = parser_of(__doc__, requests=20, output=True)
    parser.add_argument("--runtime", choices=("pack", "scripted"), default="pack")
    parser.add_argument("--only", default="", help="e.g. stream_plan,batching; default: all that act")
    parser.add_argument("--speculation", default="auto", help="auto or depth=K")
    parser.add_argument("--t-max", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=8, help="of the closed loop; 0: leave it out")
    parser.add_argument("--blocks", type=int, default=5, help="of the closed loop, in each arm")
    parser.add_argument(
        "--threads", type=Threads.parse, help="generator+vlm, e.g. 2+2; default: the engine's"
    )
    parser.add_argument("--accept-prob", type=float, default=0.8, help="scripted: of the critic")
    parser.add_argument("--scale", type=float, default=1.0, help="scripted: times all latencies")
    arguments = parser.parse_args()
    scripted = arguments.runtime == "scripted"
    acting = SCRIPTED if scripted else (*SWITCHES, RAW)
    names = [name for name in arguments.only.split(",") if name] or list(acting)
    if not set(names) <= set(acting):
        parser.error(f"--only: {arguments.runtime} has {', '.join(acting)}")
    switches = [name for name in names if name != RAW]
    options = Options(t_max=arguments.t_max)
    draw = numbered_requests if scripted else world_requests
    cases = draw(arguments.requests, arguments.seed, options)
    with Engines(_target(arguments), EngineConfig(max_live=max(8, arguments.concurrency))) as engines:
        arms = arms_of(switches, arguments.speculation, batching=not scripted)
        times, apart = single_stream(engines, arms, cases, arguments.threads)
        found = rows(switches, times, "single-stream")
        if "batching" in names and arguments.concurrency > 1:
            arms = arms_of(["batching"], arguments.speculation, batching=True)
            company, more = in_company(
                engines,
                arms,
                cases,
                arguments.threads,
                concurrency=arguments.concurrency,
                blocks=arguments.blocks,
            )
            apart |= more
            found += rows(["batching"], company, f"closed loop, {arguments.concurrency}")
    if RAW in names:
        row, more = raw_images(NativeRoles(load_pack(arguments.pack)), cases)
        found.append(row)
        apart |= more
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
    say(table(found))
    say(f"seed {arguments.seed}; {len(cases)} requests; requests with different results: {len(apart)}")
    return finish(summary, holds=not apart, output=arguments.output)


def _p50(values: Sequence[float]) -> float:
    middle: Ratio | None = median_ratio(values, [1.0] * len(values))
    assert middle is not None
    return round(middle.ratio * 1e3, 3)


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.runtime == "pack":
        return pack_target(load_pack(arguments.pack))
    return scripted_target(
        ratios_of_real_models(arguments.scale, accept_prob=arguments.accept_prob, seed=arguments.seed)
    )


if __name__ == "__main__":
    sys.exit(main())
