"""`interleave-rt train data`: the sets that planner and critic are trained with, from a teacher and generators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from interleave_rt.errors import BadRequestError, CancelledError

from .options import print_json
from .signals import Interrupted, signals

data = typer.Typer(
    name="data", help="Make the sets that planner and critic are trained with.", rich_markup_mode=None
)

# As in `train.data.run`, which is not loaded to show a help text.
_STAGES = ("taxonomy", "banks", "prompts", "trajectories", "build")

_Recipe = Annotated[str, typer.Option(help="A TOML file, or shapes or paper.")]
_Out = Annotated[Path, typer.Option(help="Folder of the run; what is in it already is not made again.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")]


def _run(recipe: str, out: Path, stages: tuple[str, ...], as_json: bool) -> int:
    from interleave_rt.train.data.recipe import load_recipe
    from interleave_rt.train.data.run import Run

    try:
        with Run(load_recipe(recipe), out, lambda said: print(said, file=sys.stderr)) as run:
            told = run.run(stages)
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint="the same command goes on where it was") from None
    card = told.pop("card", None)
    if as_json:
        print_json({**told, **({"sets": card["sets"], "hash": card["hash"]} if card else {})})
    elif card:
        for name, about in card["sets"].items():
            print(f"{name}: {about['items']} items")
        print(f"{out / 'sets'}: README.md, samples.html; hash {card['hash'][:16]}")
    return 0


@data.command("run")
def run_all(recipe: _Recipe = "shapes", out: _Out = Path("runs/data"), as_json: _Json = False) -> int:
    """All stages in order.

    Exit codes: 0 made, 2 bad request (a wrong recipe or key, no room, a picture is missing), 5 the teacher or a generator
    failed, 8 the budget is spent, 130 interrupted. The same command goes on where it was.
    """
    return _run(recipe, out, _STAGES, as_json)


@data.command("plan")
def plan(recipe: _Recipe = "paper", as_json: _Json = False) -> int:
    """What a recipe will take: counts, calls, tokens, cost and hours, without a network.

    Exit codes: 0 said, 2 bad request.
    """
    from interleave_rt.train.data.estimate import estimate
    from interleave_rt.train.data.recipe import load_recipe

    told = estimate(load_recipe(recipe))
    if as_json:
        print_json(told)
        return 0
    for name, value in told.items():
        shown = (
            ", ".join(f"{what} {number:,}" for what, number in value.items())
            if isinstance(value, dict)
            else f"{value:,}"
        )
        print(f"{name}: {shown}")
    return 0


@data.command("stage")
def run_stage(
    stage: Annotated[str, typer.Argument(metavar="|".join(_STAGES))],
    recipe: _Recipe = "shapes",
    out: _Out = Path("runs/data"),
    as_json: _Json = False,
) -> int:
    """One stage alone, with what banks and trajectories have left in the folder.

    Prompts and trajectories are of the words that banks has found by then, sets of what trajectories has made. Exit codes
    as of `run`.
    """
    if stage not in _STAGES:
        raise BadRequestError(f"[data] there is no stage {stage!r}", hint="it is " + " or ".join(_STAGES))
    return _run(recipe, out, (stage,), as_json)
