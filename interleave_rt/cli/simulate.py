"""`interleave-rt simulate`: the scheduler in virtual time, on machines that one does not have."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from interleave_rt.errors import BadRequestError

from . import options as shared


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
    planner_ms: shared.PlannerMs = 160.0,
    first_step_ms: shared.FirstStepMs = 40.0,
    generator_ms: shared.GeneratorMs = 60.0,
    first_image_ms: Annotated[
        float | None, typer.Option(help="An image without a source (step 1). Default: as any other.")
    ] = None,
    denoising_steps: Annotated[
        int | None, typer.Option(help="Cancel points of an image. Default: 4, or the calibration's.")
    ] = None,
    critic_ms: shared.CriticMs = 60.0,
    verdict_ms: shared.VerdictMs = 40.0,
    jitter: Annotated[float, typer.Option(help="Lognormal sigma of every time.")] = 0.0,
    lanes: shared.Lanes = "separate",
    critic_slowdown: Annotated[
        float, typer.Option(help="s_c of a shared device: the critic beside a generator.")
    ] = 1.09,
    generator_rate: Annotated[
        float, typer.Option(help="r_g of a shared device: the generator beside a critic.")
    ] = 0.98,
    slots: Annotated[int, typer.Option(help="Calls at once of planner and critic, each.")] = 4,
    steps: Annotated[str, typer.Option(metavar="N|MIN-MAX", help="Steps of a plan.")] = "5",
    t_max: shared.TMax = 5,
    accept_prob: Annotated[
        str,
        typer.Option(metavar="P[,P..]", help="The critic accepts; one number an attempt, or one for all."),
    ] = "0.8",
    scenario: shared.Scenario = "single-stream",
    concurrency: Annotated[
        int | None, typer.Option(help="Requests at once; more than 1 means closed-loop.")
    ] = None,
    request_rate: Annotated[float | None, typer.Option(help="Requests a second; means server.")] = None,
    burstiness: shared.Burstiness = 1.0,
    num_requests: Annotated[
        int | None, typer.Option(help="Default: 500, or those of the calibration.")
    ] = None,
    max_live: shared.MaxLive = 8,
    max_queued: Annotated[
        int | None, typer.Option(help="Requests that wait beyond those; one more is refused. Default: any.")
    ] = None,
    seed: shared.Seed = 0,
    arms: shared.Arms = "sequential,sequential-es,speculative",
    depth: Annotated[int | None, typer.Option(help="Speculate to this depth in place of the policy.")] = None,
    slo: shared.Slo = "",
    percentiles: shared.Percentiles = "50,90,95,99",
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FROM:TO:STEP",
            help="Runs a grid; may be repeated, and several are joined by commas: p=0.2:1:0.2,rate=1|2|4. "
            "Keys: p, rate, concurrency, steps, t_max, depth, cards, decode_sms, generator, critic, verdict, load "
            "(the rate as a share of what the generator can do).",
        ),
    ] = None,
    output: shared.Output = None,
    plot: Annotated[Path | None, typer.Option(help="Of a sweep: write a picture (F.svg, F.png).")] = None,
    json_: shared.AsJson = False,
) -> int:
    """Simulate the loop in virtual time.

    Shows latency, throughput, busy shares and waste of each arm. The scheduler and its policy are the real ones; only
    the calls are made up. Their times come from a calibration (measured), a preset (roofline arithmetic), or the
    options here. All arms see the same requests and the same calls.

    For example:

      interleave-rt simulate --preset h200-bf16 --cards 2 --accept-prob 0.8

      interleave-rt simulate --calibration F.json --concurrency 8

      interleave-rt simulate --preset h200-fp8 --sweep p=0.2:1:0.2 --output sweep.csv --plot sweep.svg
    """
    given = dict(locals())  # every option by its name
    from interleave_rt.measure.output import check_output, check_plot, save_json, write_csv
    from interleave_rt.measure.simulation import SimulationConfig
    from interleave_rt.measure.statistics import flatten
    from interleave_rt.measure.sweep import parse_sweep, plot_sweep, run_sweep

    from .measure_display import show, show_sweep

    config = SimulationConfig(**{option.name: given[option.name] for option in fields(SimulationConfig)})
    if output is not None:
        check_output(output)
    if plot is not None:
        if not sweep:
            raise BadRequestError("--plot shows a sweep", hint="add --sweep, e.g. --sweep p=0.2:1:0.2")
        check_plot(plot)
    points = run_sweep(config, parse_sweep(",".join(sweep))) if sweep else [({}, config.run())]
    document: Any = [{"at": at, **found} for at, found in points] if sweep else points[0][1]
    if output is not None and output.suffix == ".csv":
        write_csv([{**at, **flatten(found)} for at, found in points], output)
    elif output is not None:
        save_json(document, output)
    if plot is not None:
        plot_sweep(points, plot)
    if json_:
        shared.print_json(document)
    elif sweep:
        show_sweep(points)
    else:
        show(document)
    return 0
