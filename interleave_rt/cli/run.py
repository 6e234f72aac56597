"""`interleave-rt run`: one request from a text to a folder of pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interleave_rt.checks import one_of
from interleave_rt.errors import BadRequestError, CancelledError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.result import FinishedEvent, Result
from interleave_rt.shown import counted, for_people
from interleave_rt.wire import PlanStep, PlanStepEvent, Step, StepCommittedEvent, Timings

from . import options as shared
from .display import Display, make_display
from .signals import signals

if TYPE_CHECKING:
    from interleave_rt.engine import Engine
    from interleave_rt.reports import ResultFolder

_LOOK_S = 0.1  # how often signals are looked at


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
    judge_last: Annotated[
        bool, typer.Option("--judge-last", help="Judge the last try of a step too, which stays in any case.")
    ] = False,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of the pictures, in pixels. Default: the pack's.")
    ] = None,
    denoising_steps: Annotated[int, typer.Option(help="Of a picture; 0: as many as the pack says.")] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads in all. Default: one a core.")] = None,
    constrained: Annotated[
        str,
        typer.Option(
            metavar="auto|on|off",
            help="Whether planner and critic follow a grammar while they write; auto: where llguidance is installed.",
        ),
    ] = "auto",
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

    What is committed is on disk at once, in a folder beside --out whose name begins with --out's and `.partial-`; it takes
    the place of --out at the end, and stays where the process was killed. Ctrl-C, SIGTERM and SIGHUP end the request and save what was committed; a second one
    does not wait for the models, and a third one for nothing.

    Exit codes: 0 finished, 1 --check found a difference, 2 bad request, 3 bad pack, 4 over a limit, 5 a model failed, 6 out of time,
    7 overloaded, 9 finished but the planner's answer was cut short, 10 declined: the planner answered in words that it cannot,
    11 finished but the critic accepted no try of some step (one that was not judged at all is 0), 130 interrupted (143 by SIGTERM, 129 by SIGHUP). Whatever was committed by then is saved.
    """
    # Everything that can be wrong is looked at before a model is loaded.
    from interleave_rt.config import EngineConfig
    from interleave_rt.files import check_file

    wanted = Request(request, tuple(image or ()))
    one_of("--keep", keep, ("last", "best"))
    if check is not None:
        one_of("--check", check, ("replay",))
    width, height = _sides(size)
    options = Options.of(
        seed=seed,
        t_max=t_max,
        speculation=speculation,
        keep=keep,
        judge_last=judge_last,
        width=width,
        height=height,
        denoising_steps=denoising_steps,
        deadline_s=deadline,
    )
    if trace is not None:
        check_file(trace)
    config = EngineConfig(
        threads=threads,
        constrained=constrained,  # type: ignore[arg-type]  # looked at there
        max_memory=max_memory,
        residency=residency,  # type: ignore[arg-type]  # looked at there
    )
    with make_display(quiet=json_) as display:  # from here on it takes long
        from interleave_rt.pack import choose_pack
        from interleave_rt.pack.images import load_image
        from interleave_rt.reports import ResultFolder, save_trace

        chosen = choose_pack(pack, planner=planner, generator=generator, critic=critic, prompts=prompts)
        pixels = tuple(load_image(source, sides=chosen.image_sides) for source in wanted.images)
        folder = ResultFolder(out)
        so_far = _SoFar(Request(request, pixels), options, folder)
        try:
            from interleave_rt.engine import Engine

            with Engine.load(chosen, config, record=record) as engine:
                display.loaded()
                with signals.watched() as struck:
                    end = so_far.follow(engine, display, struck)
                    display.stop()
                    # Before the engine is closed: nothing that goes wrong from here on loses the result.
                    folder.finish(end.result)
                    signals.saved = f"{counted(len(end.result.steps), 'step')} saved in {out}"
                    if trace is not None:
                        save_trace(end.result, trace)
                    display.close(end.result, out)
                gap = _difference(engine, end.result) if check and end.error is None else None
                code = _report(end, out, gap, checked=check is not None, as_json=json_)
                signals.end()
        except InterleaveError as error:
            if so_far.saved:
                error.message += f" ({counted(len(so_far.steps), 'step')} in {folder.partial})"
            raise
        finally:
            if not so_far.saved:
                folder.discard()
    return code


def _sides(size: str | None) -> tuple[int, int]:
    if size is None:
        return 0, 0  # as the pack says
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise BadRequestError(f"--size is {size!r}", hint="width x height in pixels, e.g. 96x96")
    return int(width), int(height)


# Exit codes of a request that ended without an error, but not as one would wish.
_CUT_SHORT, _DECLINED, _NEVER_ACCEPTED = 9, 10, 11


class _SoFar:
    """What a request has committed by now, on disk as soon as it is known."""

    def __init__(self, request: Request, options: Options, folder: ResultFolder) -> None:
        self.request, self.options, self.folder = request, options, folder
        self.plan: list[PlanStep] = []
        self.steps: list[Step] = []
        self._began = time.monotonic()

    @property
    def saved(self) -> bool:
        """Whether there is something in the folder that is worth keeping."""
        return bool(self.steps) and self.folder.partial.is_dir()

    def follow(self, engine: Engine, display: Display, struck: Sequence[int]) -> FinishedEvent:
        """Shows the request's events to their end; a signal cancels it, a second one ends the wait for that."""
        handle = engine.submit(self.request, options=self.options)
        index, cancelled = 0, False
        while len(struck) < 2:
            if struck and not cancelled:
                cancelled = True
                handle.cancel()
                display.interrupted()
            event = handle.event(index, _LOOK_S)
            if event is None:
                continue
            index += 1
            if isinstance(event, PlanStepEvent):
                self.plan.append(event.step)
            elif isinstance(event, StepCommittedEvent):
                self.steps.append(event.step)
                self.folder.note(self._result(engine))
            display.show(event)
            if isinstance(event, FinishedEvent):
                return event
        result = self._result(engine)
        return FinishedEvent(result.outcome, result, result.error)

    def _result(self, engine: Engine) -> Result:
        return Result(
            self.request.marked_text,
            self.options,
            tuple(self.steps),
            "cancelled",
            tuple(self.plan),
            timings=Timings(time.monotonic() - self._began),
            pack=engine.backend.info(),
            error=CancelledError(f"the command was ended; {counted(len(self.steps), 'step')} committed"),
        )


def _code(result: Result) -> int:
    if result.outcome == "declined":
        return _DECLINED
    if result.plan_truncated:
        return _CUT_SHORT
    return _NEVER_ACCEPTED if any(step.outcome == "never_accepted" for step in result.steps) else 0


def _difference(engine: Engine, result: Result) -> str | None:
    from interleave_rt.prove import difference

    try:
        return difference(result.canonical(), engine.replay(result))
    except InterleaveError as error:  # the result is saved all the same
        return for_people(error.message)


def _report(end: FinishedEvent, out: Path, gap: str | None, *, checked: bool, as_json: bool) -> int:
    result, error = end.result, end.error
    checked = checked and error is None
    if as_json:
        said = {"replayed": gap is None} if checked else {}
        shared.print_json({**result.as_dict(prefix=f"{out.as_posix()}/"), "out": str(out), **said})
    if gap is not None:
        error = InterleaveError(
            f"[replay] the result is not the sequential loop's: {gap} (saved in {out})",
            hint="please report it, with result.json and a --trace of the run",
        )
        return shared.print_error(error)
    if checked and not as_json:
        print(f"replay: the sequential loop over {len(result.calls)} recorded answers gives the same result")
    if error is None:
        return _code(result)
    saved = f"{counted(len(result.steps), 'step')} saved in {out}"
    if isinstance(error, CancelledError):
        print(f"interrupted: {saved}", file=sys.stderr)
        return signals.exit_code or error.exit_code
    return shared.print_error(error, f" ({saved})")
