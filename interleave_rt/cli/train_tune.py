"""`interleave-rt train sft` and `train grpo`: planner and critic tuned from a Qwen3-VL directory, with TRL."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from interleave_rt.errors import CancelledError

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
    check_packages("train", _PACKAGES, extras="tune")
    from interleave_rt.train.recipe import load_sft

    chosen = load_sft(recipe)
    if dry_run:
        return _dry_run(chosen, config)

    def run() -> dict[str, float]:
        from interleave_rt.train.sft import train_sft

        told: dict[str, float] = train_sft(chosen, out, resume=resume)
        return told

    return _tuned(run, out)


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
    check_packages("train", _PACKAGES, extras="tune")
    from interleave_rt.train.recipe import load_grpo

    chosen = load_grpo(recipe)
    if dry_run:
        return _dry_run(chosen, config)

    def run() -> dict[str, float]:
        from interleave_rt.train.grpo import train_grpo

        told: dict[str, float] = train_grpo(chosen, out, resume=resume)
        return told

    return _tuned(run, out)


def _dry_run(recipe: Any, config: str) -> int:
    from interleave_rt.train.dry_run import config_of, dry_run

    dry_run(recipe, config_of(recipe, config), print)
    return 0


def _tuned(run: Callable[[], dict[str, float]], out: Path) -> int:
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries, about each other
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        told = {"out": str(out), **run()}
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print_json(told)
    except Interrupted:
        signals.caught()
        raise CancelledError("interrupted", hint="--resume goes on from the last checkpoint") from None
    return 0
