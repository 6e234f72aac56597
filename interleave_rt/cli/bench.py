"""`interleave-rt bench`: the same requests in several arms, and what each of them cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interleave_rt.checks import one_of, within
from interleave_rt.errors import BadRequestError, CancelledError, InterleaveError
from interleave_rt.request import Options
from interleave_rt.shown import shown

from . import options as shared
from .signals import Interrupted, signals

if TYPE_CHECKING:
    from interleave_rt.measure.arms import Target
    from interleave_rt.measure.load import SampleRequest
    from interleave_rt.measure.runner import Measurement
    from interleave_rt.pack import Pack

CALIBRATED = 40  # requests at most; each is run some 22 times
_USUAL_REQUESTS = 32
_USUAL_S = 120.0
FELL = 8  # exit code: a figure is worse than the baseline's


def bench(
    scenario: shared.Scenario = "single-stream",
    concurrency: Annotated[int, typer.Option(help="closed-loop: requests under way.")] = 8,
    request_rate: Annotated[float, typer.Option(help="server: requests a second; inf: all at once.")] = 1.0,
    burstiness: shared.Burstiness = 1.0,
    arms: shared.Arms = "sequential,sequential-es,speculative",
    speculation: Annotated[
        str, typer.Option(metavar="auto|depth=K", help="Of the speculative arm.")
    ] = "auto",
    runtime: Annotated[str, typer.Option(metavar="pack|scripted", help="What runs the roles.")] = "pack",
    pack: shared.Pack = None,
    planner: shared.Planner = None,
    generator: shared.Generator = None,
    critic: shared.Critic = None,
    prompts: shared.Prompts = None,
    max_memory: shared.MaxMemory = None,
    residency: shared.Residency = None,
    threads: Annotated[
        str,
        typer.Option(
            metavar="auto|G+V", help="CPU threads of generator + models; auto: the best of each arm."
        ),
    ] = "auto",
    planner_ms: shared.PlannerMs = 160.0,
    first_step_ms: shared.FirstStepMs = 40.0,
    generator_ms: shared.GeneratorMs = 60.0,
    critic_ms: shared.CriticMs = 60.0,
    verdict_ms: shared.VerdictMs = 40.0,
    steps: Annotated[int, typer.Option(help="Made-up roles: steps of every plan.")] = 5,
    accept_prob: Annotated[float, typer.Option(help="Made-up roles: that a judgement accepts.")] = 0.8,
    lanes: shared.Lanes = "separate",
    slowdown: Annotated[
        float, typer.Option(help="shared lanes: how many times as long a call takes beside another.")
    ] = 1.5,
    t_max: shared.TMax = 5,
    num_requests: Annotated[
        int | None, typer.Option(help="Requests in each arm. Default: 32, or as many as --duration allows.")
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Begin no turn after so many seconds; 0: no limit. Default: 120, with --num-requests no limit."
        ),
    ] = None,
    blocks: Annotated[
        int, typer.Option(help="Turns of each arm; 0: one a request, or eight under load.")
    ] = 0,
    warmup: Annotated[int, typer.Option(help="Requests before the measurement, in each arm.")] = 2,
    seed: shared.Seed = 0,
    percentiles: shared.Percentiles = "50,90,95,99",
    slo: shared.Slo = "",
    max_live: shared.MaxLive = 8,
    max_queued: Annotated[int, typer.Option(help="Requests that wait; one more is refused.")] = 64,
    trace: Annotated[
        Path | None, typer.Option(help="Requests from a file: one JSON object with text and seed a line.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="An earlier --output to compare with.")] = None,
    fail_over: Annotated[
        float,
        typer.Option(metavar="PCT", help="With --baseline: exit with 8 where a figure is worse by more."),
    ] = 10.0,
    output: shared.Output = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it to FILE.png, .svg or .pdf.")] = None,
    save_calibration: Annotated[
        Path | None,
        typer.Option(
            help="Afterwards, measure what `simulate --calibration FILE` needs; takes a few minutes."
        ),
    ] = None,
    synthetic: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Instead: published models at full size with random weights, on PyTorch: each part, overlap, and the loop "
            "of the first generator and the first VLM. E.g. qwen3-vl-8b,klein-9b; tiny: small ones.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="--synthetic: cpu, cuda or cuda:N; default: the first card.")
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="bf16[,fp8]", help="--synthetic: of the weights.")
    ] = "bf16",
    parts: Annotated[
        Path | None,
        typer.Option(help="--synthetic: folder of a file a part; what is complete there is not run again."),
    ] = None,
    only: Annotated[
        str, typer.Option(metavar="PARTS", help="--synthetic: parts whose names contain one of these.")
    ] = "",
    json_: shared.AsJson = False,
) -> int:
    """Measure the loop: arms take turns on the same requests.

    Arms: `sequential` has every optimisation off; `sequential-es` streams the plan, ends a verdict at its boolean and
    does not judge the last try; `speculative` has all of them on. Their results must be equal.

    Exit codes: as of `run`; 1 results differ between arms, or an arm finished no request; 8 a figure fell by more than
    --fail-over, or is gone.
    """
    if duration is None:
        duration = 0.0 if num_requests is not None or synthetic is not None else _USUAL_S
    num_requests = _USUAL_REQUESTS if num_requests is None else num_requests
    if synthetic is not None:
        script = {"steps": steps, "accept": accept_prob}
        loop = {"arms": (arms, speculation), "requests": num_requests, "seconds": duration}
        return _synthetic(synthetic, device, precision, parts, only, loop, script, output, as_json=json_)
    # Everything that can be wrong is looked at before anything is measured.
    from interleave_rt.config import EngineConfig
    from interleave_rt.measure.arms import Threads, parse_arms
    from interleave_rt.measure.calibrate import check_replayable
    from interleave_rt.measure.compare import check_comparison, compare, read_baseline
    from interleave_rt.measure.environment import OtherWork, describe_environment
    from interleave_rt.measure.load import Load, parse_percentiles, parse_slo
    from interleave_rt.measure.output import check_output, check_plot, save_document, save_plot
    from interleave_rt.measure.runner import BenchConfig, measure
    from interleave_rt.pack import choose_pack

    load = Load(
        scenario,  # type: ignore[arg-type]  # looked at by Load
        concurrency=concurrency if scenario == "closed-loop" else 1,
        request_rate=request_rate,
        burstiness=burstiness,
        max_live=max_live,
        max_queued=max_queued,
        seed=seed,
        percentiles=parse_percentiles(percentiles),
        slo_ms=parse_slo(slo),
    )
    config = BenchConfig(
        load,
        parse_arms(arms, speculation),
        turns=blocks,
        duration_s=duration,
        warmup=warmup,
        threads=None if threads == "auto" else Threads.parse(threads),
    )
    if output is not None:
        check_output(output)
    if plot is not None:
        check_plot(plot)
    if save_calibration is not None:
        check_output(save_calibration, "--save-calibration", (".json",))
    if not 0 <= fail_over < math.inf:
        raise BadRequestError(f"--fail-over is {fail_over}", hint="percent from 0 on, e.g. 10")
    before = None if baseline is None else read_baseline(baseline)
    one_of("--runtime", runtime, ("pack", "scripted"))
    one_of("--lanes", lanes, ("separate", "shared"))
    within("--steps", steps, 1, 25)
    within("--accept-prob", accept_prob, 0, 1)
    script = {
        "planner_ms": planner_ms,
        "first_step_ms": first_step_ms,
        "generator_ms": generator_ms,
        "critic_ms": critic_ms,
        "verdict_ms": verdict_ms,
        "min_steps": steps,
        "max_steps": steps,
        "accept_prob": accept_prob,
        "shared": lanes == "shared",
        "slowdown": slowdown if lanes == "shared" else 1.0,
        "seed": seed,
    }
    roles = {"planner": planner, "generator": generator, "critic": critic, "prompts": prompts}
    given = pack is not None or any(one is not None for one in roles.values())
    if given and runtime == "scripted":
        raise BadRequestError("--runtime scripted excludes --pack and roles of your own")
    chosen = None if runtime == "scripted" else choose_pack(pack, **roles)  # type: ignore[arg-type]  # a path or texts
    memory = {"max_memory": max_memory, "residency": residency}
    EngineConfig(**memory)  # type: ignore[arg-type]  # looked at there
    target, samples = _target_and_samples(
        chosen, trace, num_requests, seed, Options(t_max=t_max), script, memory
    )
    if before is not None:
        check_comparison(before, config, target.name)
    if save_calibration is not None:
        check_replayable(samples[:CALIBRATED])
    from .measure_display import ShownProgress, show

    others = OtherWork()
    with ShownProgress(quiet=json_) as progress:
        found = measure(config, target, samples, progress)
    missing = {"missing_cores": others.cores()}
    result = found.document(describe_environment(gpu=runtime == "pack") | missing)
    # From here on nothing may lose what was measured: what goes wrong is said beside the result.
    codes = []
    if output is not None:
        codes.append(_late(lambda: save_document(result, output)))
    if plot is not None:
        codes.append(_late(lambda: save_plot(found, result, plot)))
    falls = [] if before is None else compare(before, result, fail_over)
    if json_:
        shared.print_json(result)
    else:
        show(result)
    for fall in falls:
        print(shown(f"worse than {baseline}: {fall}"), file=sys.stderr)
    differs = _verdict(result, found)
    if save_calibration is not None:
        with ShownProgress(quiet=json_) as progress:
            codes.append(_late(lambda: _calibrate(found, target, save_calibration, progress.say)))
    return differs or next(filter(None, codes), FELL if falls else 0)


def _synthetic(
    names: str,
    device: str | None,
    precision: str,
    folder: Path | None,
    only: str,
    loop: dict[str, Any],
    script: dict[str, Any],
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    from interleave_rt.backends.torch.checkpoint import need
    from interleave_rt.measure.arms import parse_arms
    from interleave_rt.measure.output import check_output, save_json
    from interleave_rt.synthetic.catalogue import parse_names

    chosen = parse_names(names)
    need("torch", "transformers", "diffusers", "accelerate")
    from interleave_rt.synthetic.roles import Script
    from interleave_rt.synthetic.run import Synthetic, run_synthetic

    if output is not None:
        check_output(output, endings=(".json",))
    within("--steps", script["steps"], 1, 25)
    within("--accept-prob", script["accept"], 0, 1)
    within("--num-requests", loop["requests"], 1)
    asked = Synthetic(
        chosen,
        device,
        [one.strip() for one in precision.split(",")],
        parse_arms(*loop["arms"]),
        loop["requests"],
        loop["seconds"] or 90.0,
        script=Script(**script),
        folder=folder,
        only=[one.strip() for one in only.split(",") if one.strip()],
    )
    found = run_synthetic(asked, lambda text: print(text, file=sys.stderr, flush=True))
    if output is not None:
        save_json(found, output)
    if as_json:
        shared.print_json(found)
    else:
        from .synthetic_display import show_synthetic

        show_synthetic(found)
    failed = [name for name, part in found["parts"].items() if not part["complete"]]
    unlike = [
        name
        for name, part in found["parts"].items()
        if "lossless" in part and part["lossless"]["equal"] < part["lossless"]["requests"]
    ]
    return 1 if failed or unlike else 0


def _late(work: Callable[[], object]) -> int:
    """Does what follows a measurement; an error is said, and its exit code returned."""
    try:
        work()
    except InterleaveError as caught:
        error = caught
    except Interrupted:
        signals.caught()
        error = CancelledError("interrupted after the measurement", hint="its result is printed all the same")
    else:
        return 0
    return shared.print_error(error)


def _calibrate(found: Measurement, target: Target, path: Path, say: Callable[[str], None]) -> None:
    """One split of threads for all arms: that of the arm named last, which is the fastest one where all are run."""
    from interleave_rt.measure.arms import Threads
    from interleave_rt.measure.calibrate import measure_calibration

    chosen = found.threads.get(found.config.arms[-1].name)
    made = measure_calibration(
        target,
        found.samples[:CALIBRATED],
        config=found.config.engine_config(),
        threads=None if chosen is None else Threads.parse(chosen),
        say=say,
    )
    made.save(path)


def _verdict(result: dict[str, Any], found: Measurement) -> int:
    lossless = result["lossless"]
    if lossless["equal"] == lossless["requests"]:
        idle = [name for name, arm in result["arms"].items() if not arm["completed"]]
        for name in idle:
            said = next((record.message for record in found.records(name) if record.message), "")
            print(shown(f"error: {name} finished no request{said and ': ' + said}"), file=sys.stderr)
        return 1 if idle else 0
    text = found.samples[lossless["first_different"]].request.text
    print(
        f"error: {lossless['requests'] - lossless['equal']} of {lossless['requests']} results differ between the "
        f"arms; the first is request {lossless['first_different']} ({text!r})",
        file=sys.stderr,
    )
    return 1


def _target_and_samples(
    pack: Pack | None,
    trace: Path | None,
    count: int,
    seed: int,
    base: Options,
    script: dict[str, Any],
    memory: dict[str, Any],
) -> tuple[Target, Sequence[SampleRequest]]:
    from interleave_rt.backends.scripted import Script
    from interleave_rt.measure.arms import pack_target, scripted_target
    from interleave_rt.measure.load import MAX_REQUESTS, numbered_requests, read_trace, world_requests

    target = scripted_target(Script(**script)) if pack is None else pack_target(pack, **memory)
    within("--num-requests", count, 1, MAX_REQUESTS)
    if trace is not None:
        return target, read_trace(trace, count, base)
    return target, (numbered_requests if pack is None else world_requests)(count, seed, base)
