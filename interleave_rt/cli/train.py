"""`interleave-rt train`: the models that ship, trained from nothing; and data to train others with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interleave_rt.errors import BadRequestError, CancelledError

from .options import check_packages
from .signals import Interrupted, signals
from .train_ablation import ablation
from .train_data import data
from .train_tune import grpo, sft

# As in the training, which is not loaded to show a help text.
_PARTS = ("tokenizer", "vae", "vision", "generator", "base", "attempts", "planner", "critic", "all")
_OLD_NAMES = {"eyes": "vision", "pool": "attempts"}

train = typer.Typer(
    name="train",
    help="Train models from nothing, or tune others ([train], [tune]).",
    rich_markup_mode=None,
)
train.add_typer(data)
train.command()(sft)
train.command()(grpo)
train.command()(ablation)


@train.callback()
def _root() -> None:
    pass


@train.command()
def shapes(
    part: Annotated[str, typer.Option(metavar="|".join(_PARTS), help="What to train.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder of weights, checkpoints and records.")] = Path(
        "runs/shapes"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights and data.")] = 0,
    iterations: Annotated[
        int | None,
        typer.Option(help="Length of the run (of attempts: rounds of 96 plans). Default: the part's own."),
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor of every part's own length.")] = 1.0,
    jobs: Annotated[int, typer.Option(help="Of all parts, how many are trained at a time.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(help="End each part after this time; --resume goes on. Default: no limit.")
    ] = None,
    anneal: Annotated[
        bool,
        typer.Option(
            "--anneal",
            help="The learning rate falls with --minutes, too, so that the end is a finished model.",
        ),
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of torch.")] = 1,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Saved weights that generator, critic or planner go on from instead of new ones."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="cpu|cuda[:N]", help="Where generator, critic and planner are trained.")
    ] = "cpu",
    workers: Annotated[
        int, typer.Option(help="Processes that draw their examples; no bit of the result depends on it.")
    ] = 0,
    batch: Annotated[
        int | None, typer.Option(help="Examples an update of critic or planner. Default: 32 or 20.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Iterations between two checkpoints. Default: the part's own.")
    ] = None,
) -> int:
    """Train the trio of the closed shapes world, or one part of it; takes hours on a CPU.

    A part's settings and its curve are kept in the folder `record` beside its weights.

    Exit codes: 0 trained, 2 bad request, 130 interrupted.
    """
    part = _OLD_NAMES.get(part, part)
    if part not in _PARTS:
        raise BadRequestError(f"[train] --part is {part!r}", hint="it is " + " or ".join(_PARTS))
    if seed < 0:
        raise BadRequestError(f"[train] --seed is {seed}", hint="a whole number from 0 on")
    for name, value in (
        ("--iterations", iterations),
        ("--threads", threads),
        ("--batch", batch),
        ("--every", every),
        ("--jobs", jobs),
    ):
        if value is not None and value < 1:
            raise BadRequestError(f"[train] {name} is {value}: at least 1 is wanted")
    if workers < 0:
        raise BadRequestError(f"[train] --workers is {workers}: 0 or more are wanted")
    if minutes is not None and not minutes > 0:
        raise BadRequestError(f"[train] --minutes is {minutes:g}", hint="a number above 0")
    if not 0 < scale <= 100:
        raise BadRequestError(f"[train] --scale is {scale:g}", hint="a number above 0, at most 100")
    if jobs > 1 and part != "all":
        raise BadRequestError(f"[train] --jobs goes with all parts; --part is {part}")
    if anneal and minutes is None:
        raise BadRequestError("[train] --anneal needs --minutes: the time in which the learning rate falls")
    check_packages("train", ("torch", "transformers", "diffusers", "safetensors"), extras="train")
    from interleave_rt.files import check_folder
    from interleave_rt.train.shapes.cli import check_device, check_inputs, train_parts

    check_device(part, device, workers=workers, batch=batch)
    check_inputs(part, out, start_from)
    check_folder(out)
    try:
        train_parts(
            part,
            out,
            seed=seed,
            resume=resume,
            iterations=iterations,
            minutes=minutes,
            threads=threads,
            start_from=start_from,
            device=device,
            workers=workers,
            batch=batch,
            every=every,
            anneal=anneal,
            scale=scale,
            jobs=jobs,
        )
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint="--resume goes on from the last checkpoint") from None
    return 0
