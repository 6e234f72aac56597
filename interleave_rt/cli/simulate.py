"""`interleave-rt simulate`: the scheduler in virtual time, on machines that one does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interleave_rt.errors import BadRequestError

if TYPE_CHECKING:
    from interleave_rt.simulation.settings import Settings

__all__ = ["simulate"]


def simulate(
    calibration: Annotated[
        Path | None, typer.Option(help="File of `bench --save-calibration`: times, machine and requests.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="h200-bf16|h200-fp8|h800-bf16|h800-fp8", help="Roofline arithmetic of a GPU."),
    ] = None,
    cards: Annotated[int, typer.Option(help="Of a preset: 1 or 2.")] = 2,
    decode_sms: Annotated[
        float, typer.Option(help="One card: share of its multiprocessors that a decode takes.")
    ] = 0.02,
    planner_ms: Annotated[float, typer.Option(help="A whole plan.")] = 160.0,
    first_step_ms: Annotated[float, typer.Option(help="Its first step; the others follow evenly.")] = 40.0,
    generator_ms: Annotated[float, typer.Option(help="An image.")] = 60.0,
    first_image_ms: Annotated[
        float | None, typer.Option(help="An image without a source (step 1). Default: as any other.")
    ] = None,
    denoising_steps: Annotated[
        int | None, typer.Option(help="Cancel points of an image. Default: 4, or the calibration's.")
    ] = None,
    critic_ms: Annotated[float, typer.Option(help="A whole verdict with its new prompt.")] = 60.0,
    verdict_ms: Annotated[float, typer.Option(help="Its boolean.")] = 40.0,
    jitter: Annotated[float, typer.Option(help="Lognormal sigma of every time.")] = 0.0,
    lanes: Annotated[
        str, typer.Option(metavar="separate|shared", help="Devices of the roles, for times given here.")
    ] = "separate",
    critic_slowdown: Annotated[
        float, typer.Option(help="s_c of a shared device: the critic beside a generator.")
    ] = 1.09,
    generator_rate: Annotated[
        float, typer.Option(help="r_g of a shared device: the generator beside a critic.")
    ] = 0.98,
    slots: Annotated[int, typer.Option(help="Calls at once of planner and critic, each.")] = 4,
    steps: Annotated[str, typer.Option(metavar="N|MIN-MAX", help="Steps of a plan.")] = "5",
    t_max: Annotated[int, typer.Option("--t-max", help="Tries of a step.")] = 5,
    accept_prob: Annotated[
        str,
        typer.Option(metavar="P[,P..]", help="The critic accepts; one number an attempt, or one for all."),
    ] = "0.8",
    scenario: Annotated[
        str,
        typer.Option(metavar="single-stream|closed-loop|server|offline", help="How requests come in."),
    ] = "single-stream",
    concurrency: Annotated[
        int | None, typer.Option(help="Requests at once; more than 1 means closed-loop.")
    ] = None,
    request_rate: Annotated[float | None, typer.Option(help="Requests a second; means server.")] = None,
    burstiness: Annotated[
        float, typer.Option(help="Shape of the gamma-distributed gaps: 1 = Poisson, less = bursts.")
    ] = 1.0,
    num_requests: Annotated[
        int | None, typer.Option(help="Default: 500, or those of the calibration.")
    ] = None,
    max_live: Annotated[int, typer.Option(help="Requests that run at once.")] = 8,
    max_queued: Annotated[
        int | None, typer.Option(help="Requests that wait beyond those; one more is refused. Default: any.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal calls, in every arm.")] = 0,
    arms: Annotated[str, typer.Option(help="Names, separated by commas; also depth=K.")] = (
        "sequential,sequential-es,speculative"
    ),
    depth: Annotated[int | None, typer.Option(help="Speculate to this depth in place of the policy.")] = None,
    slo: Annotated[
        str, typer.Option(metavar="e2e:MS,ttfi:MS", help="What a good request keeps: goodput.")
    ] = "",
    percentiles: Annotated[str, typer.Option(help="Of all latencies.")] = "50,90,95,99",
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FROM:TO:STEP",
            help="Runs a grid; may be repeated, and several are joined by commas: p=0.2:1:0.2,rate=1|2|4. "
            "Keys: p, rate, concurrency, steps, t_max, depth, cards, decode_sms, generator, critic, verdict, load "
            "(the rate as a share of what the generator can do).",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write F.json or F.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Of a sweep: write a picture (F.svg, F.png).")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Simulate the loop: latency, throughput, busy shares and waste of each arm in virtual time.

    The scheduler and its policy are the real ones; only the calls are made up. Their times come from a calibration
    (measured), a preset (roofline arithmetic), or the options here. All arms see the same requests and the same calls.

    For example:

      interleave-rt simulate --preset h200-bf16 --cards 2 --accept-prob 0.8

      interleave-rt simulate --calibration F.json --concurrency 8

      interleave-rt simulate --preset h200-fp8 --sweep p=0.2:1:0.2 --output sweep.csv --plot sweep.svg
    """
    from interleave_rt.simulation.settings import Settings

    settings = Settings(
        calibration=calibration,
        preset=preset,
        cards=cards,
        decode_sms=decode_sms,
        planner_ms=planner_ms,
        first_step_ms=first_step_ms,
        generator_ms=generator_ms,
        first_image_ms=first_image_ms,
        denoising_steps=denoising_steps,
        critic_ms=critic_ms,
        verdict_ms=verdict_ms,
        jitter=jitter,
        lanes=lanes,
        critic_slowdown=critic_slowdown,
        generator_rate=generator_rate,
        slots=slots,
        steps=steps,
        t_max=t_max,
        accept_prob=accept_prob,
        scenario=scenario,
        concurrency=concurrency,
        request_rate=request_rate,
        burstiness=burstiness,
        num_requests=num_requests,
        max_live=max_live,
        max_queued=max_queued,
        seed=seed,
        arms=tuple(name.strip() for name in arms.split(",") if name.strip()),
        depth=depth,
        slo=slo,
        percentiles=percentiles,
    )
    _check_output(output, plot, sweep)
    if sweep:
        return _sweep(settings, sweep, output, plot, as_json=json_)
    document = settings.run()
    if output is not None:
        from interleave_rt.bench.statistics import flatten

        _write(document, [flatten(document)], output)
    if json_:
        print(json.dumps(document, ensure_ascii=False))
    else:
        from .simulate_display import show

        show(document)
    return 0


def _check_output(output: Path | None, plot: Path | None, sweep: list[str] | None) -> None:
    from interleave_rt.bench.output import check_output, check_plot

    if output is not None:
        check_output(output)
    if plot is not None:
        if not sweep:
            raise BadRequestError("--plot shows a sweep", hint="add --sweep, e.g. --sweep p=0.2:1:0.2")
        check_plot(plot)


def _write(document: Any, rows: list[dict[str, Any]], path: Path) -> None:
    from interleave_rt.bench.output import writing
    from interleave_rt.simulation.sweep import write_csv

    with writing(path):
        if path.suffix == ".csv":
            write_csv(rows, path)
        else:
            text = json.dumps(document, indent=2, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")


def _sweep(
    settings: Settings, texts: list[str], output: Path | None, plot: Path | None, *, as_json: bool
) -> int:
    from interleave_rt.bench.statistics import flatten
    from interleave_rt.simulation.sweep import parse_sweep, plot_sweep, run_sweep

    axes = parse_sweep(",".join(texts))
    points = run_sweep(settings, axes)
    listed = [{"at": at, **document} for at, document in points]
    if output is not None:
        _write(listed, [{**at, **flatten(document)} for at, document in points], output)
    if plot is not None:
        plot_sweep(points, plot)
    if as_json:
        print(json.dumps(listed, ensure_ascii=False))
    else:
        from .simulate_display import show_sweep

        show_sweep(points)
    return 0
