"""`interleave-rt train ablation`: the paper's ablation, measured in the shapes world."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from interleave_rt.errors import CancelledError

from .options import AsJson, print_json
from .signals import Interrupted, signals
from .train_tune import check_tuning


def _as_graphs(role: Literal["planner", "critic"], model: Path, pack: Path) -> None:
    from interleave_rt.export.role import RoleSettings, export_role
    from interleave_rt.worlds.shapes.language import TEMPLATES

    export_role(
        role,
        model,
        pack,
        RoleSettings(
            precision="fp32", cache_length=1024, cache_bytes=1 << 26, prompts=TEMPLATES, prove=False
        ),
    )


def ablation(
    out: Annotated[Path, typer.Option(help="Folder of cells, tables, plot and page.")] = Path(
        "runs/ablation"
    ),
    rows: Annotated[
        str,
        typer.Option(
            metavar="ROW[,ROW..]",
            help="Only these of no-planner, planner-sft, critic-form, critic-sft, critic-rl, rl-no-step, rl-no-kl, "
            "small-sft, small-rl, small-no-accuracy, unfiltered, one-agent. Default: all.",
        ),
    ] = "",
    seeds: Annotated[
        int, typer.Option(help="Seeds of every row at most. Default: 5 of critics, 2 of planners.")
    ] = 0,
    scale: Annotated[float, typer.Option(help="Factor of sets and requests; 0.02 for a trial.")] = 1.0,
    updates: Annotated[
        float | None, typer.Option(help="Factor of the updates of SFT and RL. Default: --scale, at most 1.")
    ] = None,
    rl_updates: Annotated[
        float | None, typer.Option(help="Factor of RL's updates alone. Default: as --updates.")
    ] = None,
    requests: Annotated[
        int, typer.Option(help="Validation requests of every measurement at most. Default: as --scale says.")
    ] = 0,
    base: Annotated[
        str,
        typer.Option(
            metavar="critic|planner",
            help="The embedded model that critics are trained from: planner has to learn what a verdict is.",
        ),
    ] = "critic",
    json_: AsJson = False,
) -> int:
    """Train the rows of the paper's ablation in the shapes world, and hold its claims against them.

    Every row is made of cells: sets, models by SFT and RL, answers. A cell that is in the folder is not made again, so the
    same command goes on after Ctrl-C or kill -9, and more rows or seeds cost what they cost. After every row there are
    index.html, ablation.png, ablation.json, rows.csv and cells.csv. All of it takes a night on two cores.

    Exit codes: 0 measured, whatever became of the claims; 2 bad request, 5 a training failed, 130 interrupted.
    """
    check_tuning("diffusers", "onnx", "onnxscript", "onnxruntime", extras="cpu,export,tune")
    from interleave_rt.train.ablation.rows import Settings
    from interleave_rt.train.ablation.run import ablate

    settings = Settings(
        rows=Settings.rows_of(rows),
        seeds=seeds,
        scale=scale,
        updates=updates,
        rl_updates=rl_updates,
        requests=requests,
        base=base,
    )
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries, about each other
    # Without a planner the request is the prompt, and longer than a generator reads: the row is meant so.
    logging.getLogger("interleave_rt.pack.tokens").setLevel(logging.ERROR)
    try:
        made = ablate(settings, out, _as_graphs, lambda said: print(said, file=sys.stderr, flush=True))
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint="the same command goes on where it was") from None
    if json_:
        print_json(made.document())
        return 0
    for name, (claim, found) in made.claims.items():
        if found is not None and found.difference.value is not None:
            told = found.difference
            interval = "" if told.low is None else f" ({100 * told.low:.1f} to {100 * (told.high or 0):.1f})"
            print(f"{name}: {100 * told.value:+.1f} points{interval}, {told.seeds} seeds: {found.outcome}")
            print(f"  {claim.says}")
    print(f"{out}: index.html, rows.csv, cells.csv")
    return 0
