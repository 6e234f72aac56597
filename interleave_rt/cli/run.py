"""`interleave-rt run`: one request from a text to a folder of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interleave_rt.checks import one_of
from interleave_rt.errors import CancelledError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.result import FinishedEvent, Result

from . import options as shared
from .display import Display, make_display

if TYPE_CHECKING:
    from interleave_rt.engine import Engine


def run(
    request: Annotated[str, typer.Argument(help="What to make; <image> marks where a picture stands.")],
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to go on from; may be repeated.")
    ] = None,
    pack: shared.Pack = None,
    planner: shared.Planner = None,
    generator: shared.Generator = None,
    critic: shared.Critic = None,
    prompts: shared.Prompts = None,
    max_memory: shared.MaxMemory = None,
    residency: shared.Residency = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures, result.json and report.html.")] = Path(
        "out"
    ),
    seed: Annotated[int, typer.Option(help="Equal seeds give equal results.")] = 0,
    t_max: shared.TMax = 5,
    speculation: Annotated[
        str,
        typer.Option(metavar="off|auto|depth=K", help="Work ahead of the critic. Never changes a result."),
    ] = "auto",
    keep: Annotated[
        str, typer.Option(metavar="last|best", help="Which image stays when every try was refused.")
    ] = "last",
    deadline: Annotated[
        float | None, typer.Option(help="Seconds; what was committed by then is kept.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a trace for Perfetto to this file.")] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Keep the answers of models that run elsewhere here; what it holds is not asked again."
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="replay", help="Hold the result to the sequential loop over its models' answers."
        ),
    ] = None,
    json_: shared.AsJson = False,
) -> int:
    """Make a text-image sequence.

    Exit codes: 0 finished, 1 --check found a difference, 2 bad request, 3 bad pack, 4 over a limit, 5 a model failed, 6 out of time,
    7 overloaded, 130 interrupted. Whatever was committed by then is saved.
    """
    # Everything that can be wrong is looked at before a model is loaded.
    from interleave_rt.pack.images import load_image
    from interleave_rt.reports import check_folder

    wanted = Request(request, tuple(image or ()))
    one_of("--keep", keep, ("last", "best"))
    if check is not None:
        one_of("--check", check, ("replay",))
    options = Options.of(seed=seed, t_max=t_max, speculation=speculation, keep=keep, deadline_s=deadline)
    for source in wanted.images:
        load_image(source)
    check_folder(out)
    if trace is not None:
        check_folder(trace.parent)
    from interleave_rt.config import EngineConfig
    from interleave_rt.engine import Engine
    from interleave_rt.pack import choose_pack

    config = EngineConfig(max_memory=max_memory, residency=residency)  # type: ignore[arg-type]  # looked at there
    chosen = choose_pack(pack, planner=planner, generator=generator, critic=critic, prompts=prompts)
    display = make_display(quiet=json_)
    with Engine.load(chosen, config, record=record) as engine, display:
        end = _follow(engine, wanted, options, display)
        result = end.result
        gap = _difference(engine, result) if check and end.error is None else None
    result.save(out)
    if trace is not None:
        from interleave_rt.reports import save_trace

        save_trace(result, trace)
    display.close(result, out)
    if json_:
        checked = {"replayed": gap is None} if check and end.error is None else {}
        shared.print_json({**result.as_dict(prefix=f"{out.as_posix()}/"), "out": str(out), **checked})
    if gap is not None:
        raise InterleaveError(
            f"[replay] the result is not the sequential loop's: {gap} (saved in {out})",
            hint="please report it, with result.json and a --trace of the run",
        )
    if check and end.error is None and not json_:
        print(f"replay: the sequential loop over {len(result.calls)} recorded answers gives the same result")
    return _report(end, out)


def _follow(engine: Engine, request: Request, options: Options, display: Display) -> FinishedEvent:
    handle = engine.submit(request, options=options)
    try:
        for event in handle:
            display.show(event)
    except KeyboardInterrupt:
        handle.cancel()
        display.interrupted()
        return handle.finished()  # a second Ctrl-C ends this wait, too
    return handle.finished()


def _difference(engine: Engine, result: Result) -> str | None:
    from interleave_rt.prove import difference

    try:
        return difference(result.canonical(), engine.replay(result))
    except InterleaveError as error:  # the result is saved all the same
        return error.message


def _report(end: FinishedEvent, out: Path) -> int:
    error = end.error
    if error is None:
        return 0
    steps = len(end.result.steps)
    saved = f"{steps} step{'' if steps == 1 else 's'} saved in {out}"
    if isinstance(error, CancelledError):
        print(f"interrupted: {saved}", file=sys.stderr)
        return error.exit_code
    return shared.print_error(error, f" ({saved})")
