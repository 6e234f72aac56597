"""`interleave-rt eval`: what a pack can do, measured against targets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interleave_rt.errors import CancelledError
from interleave_rt.shown import shown

from . import options as shared
from .signals import Interrupted, signals

if TYPE_CHECKING:
    from interleave_rt.worlds.shapes.evaluation import Evaluation

MISSED = 1  # exit code: a figure misses its target

evaluation = typer.Typer(
    name="eval", help="Measure what a pack can do, and compare it with targets.", rich_markup_mode=None
)


@evaluation.callback()
def _root() -> None:
    pass


@evaluation.command()
def shapes(
    pack: shared.Pack = None,
    planner: shared.Planner = None,
    generator: shared.Generator = None,
    critic: shared.Critic = None,
    prompts: shared.Prompts = None,
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json and index.html.")] = Path("eval"),
    split: Annotated[
        str,
        typer.Option(metavar="validation|test", help="Whose requests; test is for releases."),
    ] = "validation",
    seed: Annotated[int, typer.Option(help="Of requests, pictures and calls.")] = 1,
    scale: Annotated[
        float, typer.Option(help="Factor of all sample sizes, for quick looks: 0.05 takes minutes.")
    ] = 1.0,
    rows: Annotated[
        str,
        typer.Option(
            metavar="ROW[,ROW..]",
            help="Only these of plans, swapped, calls, refined, critic, loop, honesty, people, cost. Default: all.",
        ),
    ] = "",
    json_: shared.AsJson = False,
) -> int:
    """Judge a pack of the shapes world, or roles of your own, by the world's oracle.

    Plans; the same words with other pictures; single calls of the generator; the critic's prompts and verdicts; the
    whole loop with 1, 3 and 5 tries; requests from outside the world; sentences that people wrote; size and time. All of it takes about an hour on
    two cores. What a row has found is saved as soon as it is done. Size and time are those of graphs: with roles that
    run elsewhere this row is left out.

    Exit codes: as of `run`; 1 a figure misses its target.
    """
    # Everything that can be wrong is looked at before a model is loaded.
    from interleave_rt.files import check_folder
    from interleave_rt.measure.environment import describe_environment
    from interleave_rt.pack import choose_pack
    from interleave_rt.worlds.shapes.evaluation import Settings, evaluate
    from interleave_rt.worlds.shapes.evaluation.progress import Progress

    settings = Settings(split=split, seed=seed, scale=scale, rows=Settings.rows_of(rows))  # type: ignore[arg-type]  # checked there
    check_folder(out)
    chosen = choose_pack(pack, planner=planner, generator=generator, critic=critic, prompts=prompts)
    try:
        found = evaluate(chosen, settings, out, Progress(), environment=describe_environment(gpu=False))
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint=f"the rows that were done are in {out}") from None
    document = found.document()
    if json_:
        shared.print_json(document)
    else:
        _show(found, document, out)
    if found.missed:
        print(f"error: targets missed: {', '.join(found.missed)}", file=sys.stderr)
    return MISSED if found.missed else 0


@evaluation.command()
def precision(
    pack: Annotated[Path, typer.Argument(help="The pack in another precision.")],
    against: Annotated[Path, typer.Option(help="The pack that it is held against.")],
    requests: Annotated[
        Path | None,
        typer.Option(
            help="A file with a request a line. Default: of the shapes world, which its oracle judges."
        ),
    ] = None,
    most: Annotated[int, typer.Option(help="Requests at most.")] = 2000,
    margin: Annotated[float, typer.Option(help="Points of step success that may be lost.")] = 1.5,
    split: Annotated[str, typer.Option(metavar="validation|test", help="Whose requests.")] = "validation",
    seed: Annotated[int, typer.Option(help="Of requests and calls.")] = 1,
    json_: shared.AsJson = False,
) -> int:
    """What a lower precision costs: one pack beside another, on the same requests with the same seeds.

    The difference of step success is found in pairs, with its 95 % interval, over as many requests as make it
    narrower than half of the margin to both sides. How often plans are equal, verdicts turn and pictures differ is told of any
    pack. Both packs are in memory.

    Exit codes: as of `run`; 1 the interval's lower end is below the margin, or no request was answered by both packs.
    """
    from contextlib import ExitStack

    from interleave_rt.config import EngineConfig
    from interleave_rt.engine import Engine
    from interleave_rt.errors import BadRequestError
    from interleave_rt.pack import choose_pack
    from interleave_rt.request import Request
    from interleave_rt.worlds.shapes.evaluation import Settings
    from interleave_rt.worlds.shapes.evaluation.precision import compare
    from interleave_rt.worlds.shapes.evaluation.progress import Progress
    from interleave_rt.worlds.shapes.evaluation.run import check_size
    from interleave_rt.worlds.shapes.evaluation.samples import AT_ONCE
    from interleave_rt.worlds.shapes.requests import collect, narrative

    settings = Settings(split=split, seed=seed)  # type: ignore[arg-type]  # checked there
    if most < 1:
        raise BadRequestError(f"[eval] --most is {most}", hint="a number above 0")
    packs = [choose_pack(path) for path in (pack, against)]
    asked: list[Any]
    if requests is None:
        for one in packs:
            check_size(one, one.image_size)
        asked = collect(narrative, settings.split, most, f"precision/{seed}")
    else:
        try:
            lines = requests.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequestError(f"[eval] {requests} cannot be read: {error}") from None
        asked = [Request(line) for line in lines if line.strip()][:most]
    with ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(Engine.load(one, EngineConfig(max_live=AT_ONCE))) for one in packs
        )
        try:
            found = compare(ours, theirs, asked, margin=margin / 100, seed=seed, progress=Progress())
        except Interrupted:
            signals.caught()
            raise CancelledError("interrupted") from None
    document = {"pack": str(pack), "against": str(against), **found.document()}
    if json_:
        shared.print_json(document)
    else:
        _show_precision(document)
    if found.met is False:
        print(f"error: more than {margin:g} points of step success may be lost", file=sys.stderr)
    return MISSED if found.met is False else 0


def _show_precision(document: dict[str, Any]) -> None:
    success = document["success"]
    print(f"{document['requests']} requests, {document['failed']} failed")
    if success["difference"] is not None:
        low, high = (100 * end for end in success["interval"])
        print(
            f"step success: {100 * success['difference']:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
        )
    for name in ("plans_equal", "verdicts_flipped", "pictures_equal"):
        figure = document[name]
        if figure["n"]:
            print(f"{name.replace('_', ' ')}: {100 * figure['share']:.1f} % of {figure['n']}")
    if document["picture_distance"] is not None:
        print(f"picture distance: {document['picture_distance']:.3f} of 255, on average")


def _show(found: Evaluation, document: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from interleave_rt.worlds.shapes.evaluation import ROWS

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a pipe has no width of its own
    pack = document["pack"]
    console.print(
        shown(
            f"{pack['name']} {pack['version']}, {document['split']} split, seed {document['seed']}, "
            f"sizes x {document['scale']:g}; {document['seconds']:.0f} s"
        ),
        highlight=False,
        markup=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for head in ("n", "value", "95 % interval", "target", "met"):
        table.add_column(head, justify="left" if head == "target" else "right", no_wrap=True)
    for row in found.rows:
        remark = f"  ({row.failed} failed)" if row.failed else ""
        table.add_row(f"{ROWS[row.name]}{remark}", *[""] * 5, style="bold")
        for figure in row.figures.values():
            table.add_row(f"  {figure.what}", *figure.cells())
    console.print(table, highlight=False, markup=False)
    console.print(f"{out / 'index.html'} shows it", highlight=False, markup=False, soft_wrap=True)
