"""What verbs share: options, and how a result and an error are printed."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.shown import for_people, shown

from .streams import is_unicode

Scenario = Annotated[
    str, typer.Option(metavar="single-stream|closed-loop|server|offline", help="How requests come in.")
]
Burstiness = Annotated[
    float,
    typer.Option(help="server: shape of the gaps between requests: 1 is Poisson, less comes in bursts."),
]
Arms = Annotated[str, typer.Option(help="Names, separated by commas, in their order; also depth=K.")]
TMax = Annotated[int, typer.Option("--t-max", help="Tries of a step, 1 to 10.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal requests and arrivals, in every arm.")]
MaxLive = Annotated[int, typer.Option(help="Requests that run at once; the rest waits.")]
Percentiles = Annotated[str, typer.Option(help="Of all latencies, separated by commas.")]
Slo = Annotated[
    str, typer.Option(metavar="e2e:MS,ttfi:MS", help="Limits of a good request: reports the goodput.")
]
PlannerMs = Annotated[float, typer.Option(help="Made-up roles: the whole plan.")]
FirstStepMs = Annotated[float, typer.Option(help="Made-up roles: its first step; the others follow evenly.")]
GeneratorMs = Annotated[float, typer.Option(help="Made-up roles: an image.")]
CriticMs = Annotated[float, typer.Option(help="Made-up roles: a whole verdict with its new prompt.")]
VerdictMs = Annotated[float, typer.Option(help="Made-up roles: its boolean.")]
Lanes = Annotated[
    str, typer.Option(metavar="separate|shared", help="Made-up roles: a device for each, or one for all.")
]
Output = Annotated[Path | None, typer.Option(help="Write the result to FILE.json or FILE.csv.")]
_CONTROLS = re.compile("[\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")  # JSON escapes the others itself
_ROLE = "RUNTIME:PLACE[,option=value..]"
Planner = Annotated[
    str | None,
    typer.Option(
        metavar=_ROLE, help="What runs the planner: torch:FOLDER, openai:URL#MODEL, native:PACK, scripted."
    ),
]
Generator = Annotated[str | None, typer.Option(metavar=_ROLE, help="What runs the generator.")]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="Folder of narrative.txt, guidance.txt and critic.txt, which planner and critic are asked with where they "
        "run elsewhere. Default: prompts for models that were not trained for this."
    ),
]
Critic = Annotated[str | None, typer.Option(metavar=_ROLE, help="What runs the critic.")]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="What each device may hold of roles in PyTorch, e.g. 12GB: the quickest --residency that keeps to it.",
    ),
]
Residency = Annotated[
    str | None,
    typer.Option(
        metavar="keep|release|encoder|swap|parts|stream",
        help="Which weights of roles in PyTorch are on their device at once: all of them, .., some layers.",
    ),
]
Pack = Annotated[
    Path | None, typer.Option(help="Folder of a pack. Default: the embedded one, which draws shapes.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def print_json(document: Any) -> None:
    """One line on standard output; no character of it does anything to a terminal."""
    text = json.dumps(document, ensure_ascii=not is_unicode(sys.stdout))
    print(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)


def print_error(error: InterleaveError, remark: str = "") -> int:
    """One line on standard error, and one with the hint where there is one; returns the exit code."""
    print(shown(f"error: {for_people(error.message)}{remark}"), file=sys.stderr)
    if error.hint:
        print(shown(f"hint:  {error.hint}"), file=sys.stderr)
    return error.exit_code


def check_packages(verb: str, packages: Sequence[str], extras: str) -> None:
    """Raises `BadRequestError` for the first package that is not installed; none is loaded."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BadRequestError(
                f"[{verb}] {package} is not installed", hint=f'pip install "interleave-rt[{extras}]"'
            )
