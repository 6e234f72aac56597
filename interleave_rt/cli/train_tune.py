"""`interleave-rt train sft` and `train grpo`: planner and critic tuned from a Qwen3-VL directory, with TRL."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from interleave_rt.errors import BadRequestError, CancelledError

from .options import check_packages, print_json
from .signals import Interrupted, signals

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")

_Recipe = Annotated[str, typer.Option(help="A TOML file, or one that comes along (see train/README.md).")]
_Out = Annotated[Path, typer.Option(help="Folder of weights, checkpoints and the record.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be learned and what memory it takes.")
]
_Config = Annotated[
    str, typer.Option(help="--dry-run: whose layout is looked at; default: the base's own config.json.")
]


def check_tuning(*more: str, extras: str = "tune") -> None:
    """Refuses where this Python or one of the packages of tuning, and of `more`, is missing."""
    if sys.version_info < (3, 11):
        raise BadRequestError(
            "[train] tuning needs Python 3.11 or newer, as TRL does",
            hint='pip install "interleave-rt[tune]" with a newer Python',
        )
    check_packages("train", (*_PACKAGES, *more), extras=extras)


def sft(
    recipe: _Recipe,
    out: _Out = Path("runs/sft"),
    resume: _Resume = False,
    dry_run: _DryRun = False,
    config: _Config = "",
) -> int:
    """Tune planner or critic on the answers of a set that `train data` has made.

    Exit codes: 0 trained, 2 bad request, 5 the loss is 0 or no number, 130 interrupted.
    """
    return _tuned("sft", recipe, out, resume=resume, dry_run=dry_run, config=config)


def grpo(
    recipe: _Recipe,
    out: _Out = Path("runs/grpo"),
    resume: _Resume = False,
    dry_run: _DryRun = False,
    config: _Config = "",
) -> int:
    """Tune a critic from rewards: its refined prompts are used, and what they become is scored.

    Exit codes: 0 trained, 2 bad request, 5 generator or scorer is down, 8 the budget is spent, 130 interrupted.
    """
    return _tuned("grpo", recipe, out, resume=resume, dry_run=dry_run, config=config)


def _tuned(
    verb: Literal["sft", "grpo"], given: str, out: Path, *, resume: bool, dry_run: bool, config: str
) -> int:
    if config and not dry_run:
        raise BadRequestError("[train] --config is for --dry-run alone", hint="the recipe names the base")
    check_tuning()
    from interleave_rt.train import recipe as recipes

    recipe = recipes.load_sft(given) if verb == "sft" else recipes.load_grpo(given)
    if dry_run:
        from interleave_rt.train import dry_run as dry

        dry.dry_run(recipe, dry.config_of(recipe, config), print)
        return 0
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries, about each other
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if verb == "sft":
            from interleave_rt.train.sft import train_sft as train
        else:
            from interleave_rt.train.grpo import train_grpo as train
        told = {"out": str(out), **train(recipe, out, resume=resume)}
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print_json(told)
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint="--resume goes on from the last checkpoint") from None
    return 0
