"""`interleave-rt bench`: the same requests in several arms, and what each of them cost."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from interleave_rt.errors import BadRequestError, CancelledError, InterleaveError
from interleave_rt.request import Options

if TYPE_CHECKING:
    from interleave_rt.bench import Arm, Case, Measurement, Plan
    from interleave_rt.bench.arms import Target

__all__ = ["bench"]

CALIBRATED = 40  # requests at most; each is run some 22 times
FELL = 8  # exit code: a figure is worse than the baseline's


def bench(
    scenario: Annotated[
        str, typer.Option(metavar="single-stream|closed-loop|server|offline", help="How requests come in.")
    ] = "single-stream",
    concurrency: Annotated[int, typer.Option(help="closed-loop: requests under way.")] = 8,
    request_rate: Annotated[float, typer.Option(help="server: requests a second; inf: all at once.")] = 1.0,
    burstiness: Annotated[float, typer.Option(help="server: 1 is Poisson, less comes in bursts.")] = 1.0,
    arms: Annotated[
        str, typer.Option(help="Which arms, separated by commas, in their order of turns.")
    ] = "sequential,sequential-es,speculative",
    speculation: Annotated[
        str, typer.Option(metavar="auto|depth=K", help="Of the speculative arm.")
    ] = "auto",
    runtime: Annotated[str, typer.Option(metavar="pack|scripted", help="What runs the roles.")] = "pack",
    pack: Annotated[Path | None, typer.Option(help="Folder of a pack. Default: the embedded one.")] = None,
    threads: Annotated[
        str,
        typer.Option(
            metavar="auto|G+V", help="CPU threads of generator + models; auto: the best of each arm."
        ),
    ] = "auto",
    planner_ms: Annotated[float, typer.Option(help="scripted: the whole plan.")] = 160.0,
    first_step_ms: Annotated[float, typer.Option(help="scripted: its first step.")] = 40.0,
    generator_ms: Annotated[float, typer.Option(help="scripted: an image, in four denoising steps.")] = 60.0,
    critic_ms: Annotated[float, typer.Option(help="scripted: a whole judgement.")] = 60.0,
    verdict_ms: Annotated[float, typer.Option(help="scripted: its boolean.")] = 40.0,
    steps: Annotated[int, typer.Option(help="scripted: steps of every plan.")] = 5,
    accept_prob: Annotated[float, typer.Option(help="scripted: that a judgement accepts.")] = 0.8,
    lanes: Annotated[
        str, typer.Option(metavar="separate|shared", help="scripted: a device for each role, or one for all.")
    ] = "separate",
    slowdown: Annotated[
        float, typer.Option(help="scripted, shared: how many times as long a call takes beside another.")
    ] = 1.5,
    t_max: Annotated[int, typer.Option("--t-max", help="Tries of a step, 1 to 10.")] = 5,
    num_requests: Annotated[int, typer.Option(help="Requests in each arm.")] = 32,
    duration: Annotated[float, typer.Option(help="Begin no turn after so many seconds; 0: no limit.")] = 0.0,
    blocks: Annotated[
        int, typer.Option(help="Turns of each arm; 0: one a request, or eight under load.")
    ] = 0,
    warmup: Annotated[int, typer.Option(help="Requests before the measurement, in each arm.")] = 2,
    seed: Annotated[int, typer.Option(help="Of requests, arrivals and intervals.")] = 0,
    percentiles: Annotated[str, typer.Option(help="Separated by commas.")] = "50,90,95,99",
    slo: Annotated[
        str, typer.Option(metavar="e2e:MS,ttfi:MS", help="Limits of a good request: reports the goodput.")
    ] = "",
    max_live: Annotated[int, typer.Option(help="Requests that run at once; the rest waits.")] = 8,
    max_queued: Annotated[int, typer.Option(help="Requests that wait; one more is refused.")] = 64,
    trace: Annotated[
        Path | None, typer.Option(help="Requests from a file: one JSON object with text and seed a line.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="An earlier --output to compare with.")] = None,
    fail_over: Annotated[
        float,
        typer.Option(metavar="PCT", help="With --baseline: exit with 8 where a figure is worse by more."),
    ] = 10.0,
    output: Annotated[Path | None, typer.Option(help="Write the result to FILE.json or FILE.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it to FILE.png, .svg or .pdf.")] = None,
    save_calibration: Annotated[
        Path | None,
        typer.Option(
            help="Afterwards, measure what `simulate --calibration FILE` needs; takes a few minutes."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Measure the loop: arms take turns on the same requests.

    Arms: `sequential` has every latency device off; `sequential-es` streams the plan, ends a verdict at its boolean,
    does not judge the last try and keeps images raw; `speculative` has all of them on. Their results must be equal.

    Exit codes: as of `run`; 1 results differ between arms, or an arm finished no request; 8 a figure fell by more than
    --fail-over, or is gone.
    """
    # Everything that can be wrong is looked at before anything is measured.
    from interleave_rt.bench import describe_environment, document, measure
    from interleave_rt.bench.compare import check_comparison, compare, read_baseline
    from interleave_rt.bench.output import check_output, check_plot, save_document, save_plot

    plan = _plan(
        scenario,
        arms=_arms(arms, speculation),
        concurrency=concurrency,
        request_rate=request_rate,
        burstiness=burstiness,
        blocks=blocks,
        duration_s=duration,
        warmup=warmup,
        seed=seed,
        threads=_threads(threads),
        max_live=max_live,
        max_queued=max_queued,
        percentiles=_numbers("--percentiles", percentiles),
        slo_ms=_slo(slo),
    )
    if output is not None:
        check_output(output)
    if plot is not None:
        check_plot(plot)
    if save_calibration is not None:
        check_output(save_calibration, "--save-calibration", (".json",))
    if not 0 <= fail_over < math.inf:
        raise BadRequestError(f"[bench] --fail-over is {fail_over}", hint="percent from 0 on, e.g. 10")
    before = None if baseline is None else read_baseline(baseline)
    script = {
        "planner_ms": planner_ms,
        "first_step_ms": first_step_ms,
        "generator_ms": generator_ms,
        "critic_ms": critic_ms,
        "verdict_ms": verdict_ms,
        "min_steps": steps,
        "max_steps": steps,
        "accept_prob": accept_prob,
        "shared": _one_of("--lanes", lanes, ("separate", "shared")) == "shared",
        "slowdown": slowdown if lanes == "shared" else 1.0,
        "seed": seed,
    }
    target = _target(runtime, pack, script)
    cases = _cases(runtime, trace, num_requests, seed, Options(t_max=t_max))
    if before is not None:
        check_comparison(before, plan, target.name)
    if save_calibration is not None:
        _check_calibrated(cases)
    from .bench_display import make_progress, show

    with make_progress(quiet=json_) as progress:
        found = measure(plan, target, cases, progress)
    result = document(found, describe_environment(gpu=runtime == "pack"))
    # From here on nothing may lose what was measured: what goes wrong is said beside the result.
    codes = []
    if output is not None:
        codes.append(_late(lambda: save_document(result, output)))
    if plot is not None:
        codes.append(_late(lambda: save_plot(found, result, plot)))
    falls = [] if before is None else compare(before, result, fail_over)
    if json_:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    else:
        show(result)
    for fall in falls:
        print(f"worse than {baseline}: {fall}", file=sys.stderr)
    differs = _verdict(result, found)
    if save_calibration is not None:
        with make_progress(quiet=json_) as progress:
            codes.append(_late(lambda: _calibrate(found, target, save_calibration, progress.say)))
    return differs or next(filter(None, codes), FELL if falls else 0)


def _late(work: Callable[[], object]) -> int:
    """Does what follows a measurement; an error is said, and its exit code returned."""
    try:
        work()
    except InterleaveError as caught:
        error = caught
    except KeyboardInterrupt:
        error = CancelledError("interrupted after the measurement", hint="its result is printed all the same")
    else:
        return 0
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint:  {error.hint}", file=sys.stderr)
    return error.exit_code


def _check_calibrated(cases: list[Case]) -> None:
    for number, case in enumerate(cases[:CALIBRATED], start=1):
        if case.options.keep != "last" or case.options.judge_last:
            raise BadRequestError(
                f"[bench] --save-calibration cannot replay request {number}: it has keep={case.options.keep!r}, "
                f"judge_last={case.options.judge_last}",
                hint='leave them out of the trace: keep is "last" and judge_last is false',
            )


def _calibrate(found: Measurement, target: Target, path: Path, say: Callable[[str], None]) -> None:
    """One split of threads for all arms: that of the arm named last, which is the fastest one where all are run."""
    from interleave_rt.bench import Threads
    from interleave_rt.bench.output import writing
    from interleave_rt.simulation.measure import measure_calibration

    chosen = found.threads.get(found.plan.arms[-1].name)
    made = measure_calibration(
        target,
        found.cases[:CALIBRATED],
        config=found.plan.engine_config(),
        threads=None if chosen is None else Threads.parse(chosen),
        say=say,
    )
    with writing(path):
        made.save(path)


def _verdict(result: dict[str, Any], found: Measurement) -> int:
    lossless = result["lossless"]
    if lossless["equal"] == lossless["requests"]:
        idle = [name for name, arm in result["arms"].items() if not arm["completed"]]
        for name in idle:
            said = next((record.message for record in found.records(name) if record.message), "")
            print(f"error: {name} finished no request{said and ': ' + said}", file=sys.stderr)
        return 1 if idle else 0
    text = found.cases[lossless["first_different"]].request.text
    print(
        f"error: {lossless['requests'] - lossless['equal']} of {lossless['requests']} results differ between the "
        f"arms; the first is request {lossless['first_different']} ({text!r})",
        file=sys.stderr,
    )
    return 1


def _plan(scenario: str, **fields: Any) -> Plan:
    from interleave_rt.bench.runner import Plan, Scenario

    chosen: Any = _one_of("--scenario", scenario, get_args(Scenario))
    if chosen != "closed-loop":
        fields["concurrency"] = 1
    return Plan(chosen, **fields)


def _arms(text: str, speculation: str) -> list[Arm]:
    from interleave_rt.bench import ARMS

    Options(speculation=speculation)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ARMS:
            raise BadRequestError(f"[bench] there is no arm {name!r}", hint="arms are " + ", ".join(ARMS))
    if len(set(names)) < len(names):
        raise BadRequestError(f"[bench] --arms is {text!r}: an arm is named twice")
    found = [ARMS[name] for name in names]
    return [replace(arm, speculation=speculation) if arm.speculation != "off" else arm for arm in found]


def _threads(text: str) -> Any:
    from interleave_rt.bench import Threads

    return None if text == "auto" else Threads.parse(text)


def _target(runtime: str, pack: Path | None, script: dict[str, Any]) -> Target:
    if _one_of("--runtime", runtime, ("pack", "scripted")) == "pack":
        from interleave_rt.bench import PackTarget
        from interleave_rt.pack import load_pack

        return PackTarget(load_pack(pack))
    from interleave_rt.backends.scripted import Script
    from interleave_rt.bench import ScriptedTarget

    if pack is not None:
        raise BadRequestError("[bench] --pack and --runtime scripted exclude each other")
    return ScriptedTarget(Script(**script))


def _cases(runtime: str, trace: Path | None, count: int, seed: int, base: Options) -> list[Case]:
    from interleave_rt.bench import numbered_cases, read_trace, world_cases

    if count < 1:
        raise BadRequestError(f"[bench] --num-requests is {count}: at least 1 is wanted")
    if trace is not None:
        return read_trace(trace, count, base)
    return (numbered_cases if runtime == "scripted" else world_cases)(count, seed, base)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value in allowed:
        return value
    raise BadRequestError(f"[bench] {name} is {value!r}", hint="it is " + " or ".join(allowed))


def _numbers(name: str, text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if found and all(0 <= number <= 100 for number in found):
        return found
    raise BadRequestError(f"[bench] {name} is {text!r}", hint="numbers from 0 to 100, e.g. 50,90,99")


def _slo(text: str) -> dict[str, float]:
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, limit = part.partition(":")
        try:
            limits[name.strip()] = float(limit)
        except ValueError:
            raise BadRequestError(f"[bench] --slo is {text!r}", hint="e.g. e2e:500,ttfi:200 (ms)") from None
    return limits
