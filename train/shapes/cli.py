"""The parts of the recipe in order, for `interleave-rt train shapes`, and `python -m interleave_rt.train` for quick looks."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.errors import BadRequestError

from .graph import NEEDS, PARTS, all_parts

if TYPE_CHECKING:
    from ..loop import Part

__all__ = [
    "CONTINUED",
    "OLD_NAMES",
    "ON_A_CARD",
    "PARTS",
    "check_device",
    "check_inputs",
    "main",
    "train_parts",
]

CONTINUED = ("generator", "critic", "planner")
"""Parts that can begin with the weights of an earlier run."""
ON_A_CARD = ("generator", "base", "critic", "planner")
"""Parts that can be trained on another device."""
DRAWN_AHEAD = ("base", "critic", "planner")
"""Parts whose examples other processes can draw, in batches of any size."""
OLD_NAMES = {"eyes": "vision", "pool": "attempts"}
"""Of parts and their folders, in earlier versions."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m interleave_rt.train",
        description="Quick looks at stories and trios; training: interleave-rt train.",
    )
    worlds = parser.add_subparsers(dest="command", required=True)
    check = worlds.add_parser(
        "shapes-check", help="judge a saved story with the oracle: exit 1 where a picture is wrong"
    )
    check.add_argument("story", type=Path, help="the directory that `interleave-rt run --out` wrote")
    base = worlds.add_parser(
        "shapes-base", help="the embedded pack's planner and critic as Qwen3-VL directories, to be tuned"
    )
    base.add_argument("--out", type=Path, default=Path("runs/base"))
    torch_eval = worlds.add_parser(
        "shapes-eval", help="run the loop of a trained trio in torch, judged by the oracle"
    )
    torch_eval.add_argument(
        "--out", type=Path, default=Path("runs/shapes"), help="directory of the trained trio"
    )
    torch_eval.add_argument("--count", type=int, default=100, help="held-out requests")
    torch_eval.add_argument("--seed", type=int, default=1)
    torch_eval.add_argument("--threads", type=int, default=1)
    average = worlds.add_parser(
        "shapes-average",
        help="the mean of two planners or critics that began with the same weights, rounded to float16 values",
    )
    average.add_argument("one", type=Path)
    average.add_argument("other", type=Path)
    average.add_argument("--share", type=float, default=0.5, help="of the other")
    average.add_argument("--out", type=Path, required=True)
    return parser


def _folder(out: Path, part: str) -> Path:
    """Where a part lies; under its old name where an earlier version has trained it."""
    before = next((out / old for old, new in OLD_NAMES.items() if new == part), out / part)
    return before if before.exists() and not (out / part).exists() else out / part


def _attempts(out: Path) -> Path:
    before = out / "pool.pkl"
    return before if before.exists() and not (out / "attempts.pkl").exists() else out / "attempts.pkl"


def check_inputs(part: str, out: Path, start_from: Path | None = None) -> None:
    """Every input of a part has to be there before it begins; whether its training came to its end is not looked at.

    What a part would begin with, were it not for `start_from`, is not needed with it.

    Raises:
        BadRequestError: One is missing, or the part begins with nothing that was saved.
    """
    if start_from is not None:
        if part not in CONTINUED:
            raise BadRequestError(
                f"[train] --start-from goes with --part {', '.join(CONTINUED)}; --part is {part}"
            )
        if not start_from.is_dir():
            raise BadRequestError(f"[train] --start-from: {start_from} is no folder of saved weights")
    for needed in NEEDS.get(part, ()):
        if start_from is not None and needed == "base":
            continue
        place = _attempts(out) if needed == "attempts" else _folder(out, needed)
        if not place.exists():
            raise BadRequestError(
                f"[train] --part {part} needs {place}", hint=f"train --part {needed} before it"
            )


def check_device(part: str, device: str, *, workers: int = 0, batch: int | None = None) -> None:
    """The device is there, and what goes with critic and planner alone is not asked of another part.

    Raises:
        BadRequestError: It is not, or it is.
    """
    told = (
        ("--device", device != "cpu", ON_A_CARD),
        ("--workers", workers > 0, DRAWN_AHEAD),
        ("--batch", batch is not None, DRAWN_AHEAD),
    )
    for name, given, parts in told:
        if given and part not in (*parts, "all"):
            raise BadRequestError(f"[train] {name} goes with --part {', '.join(parts)}; --part is {part}")
    if device == "cpu":
        return
    import torch

    try:
        asked_for = torch.device(device)
    except RuntimeError:
        asked_for = None
    kind = None if asked_for is None else asked_for.type
    # Counted, not opened: the processes that draw examples are forked before a card is in use.
    cards = torch.cuda.device_count()
    if kind != "cuda" or ((asked_for and asked_for.index) or 0) >= cards:
        raise BadRequestError(
            f"[train] --device is {device}: this torch ({torch.__version__}) sees the CPU and {cards} CUDA cards",
            hint="cpu or cuda[:N]; a card also needs a build of torch for CUDA",
        )


def _train(
    part: str,
    out: Path,
    seed: int,
    start_from: Path | None,
    scale: float,
    run: dict[str, Any],
    vlm: dict[str, Any],
) -> dict[str, float]:
    check_inputs(part, out, start_from)
    from ..loop import train
    from .attempts import ROUNDS, make_attempts
    from .critic import Critic, Reader
    from .generator import Painting
    from .planner import Planner
    from .tokenizer import train_tokenizer
    from .vae import Vae
    from .vision import Vision

    folder, words = _folder(out, part), out / "tokenizer"
    if part == "tokenizer":
        return {"tokens": float(train_tokenizer(folder, seed=seed))}
    if part == "attempts":
        rounds = run["iterations"] or max(1, round(ROUNDS * scale))
        return make_attempts(out / "attempts.pkl", generator_dir=out / "generator", rounds=rounds, seed=seed)
    made: dict[str, Callable[[], Part]] = {
        "vision": lambda: Vision(folder, tokenizer_dir=words, seed=seed),
        "vae": lambda: Vae(folder, seed=seed),
        "generator": lambda: Painting(
            folder,
            vae_dir=out / "vae",
            tokenizer_dir=words,
            start_from=start_from,
            seed=seed,
            device=vlm["device"],
        ),
        "base": lambda: Reader(folder, vision=_folder(out, "vision"), tokenizer_dir=words, seed=seed, **vlm),
        "critic": lambda: Critic(
            folder,
            attempts=_attempts(out),
            tokenizer_dir=words,
            start_from=start_from or out / "base",
            seed=seed,
            **vlm,
        ),
        "planner": lambda: Planner(
            folder, start_from=start_from or out / "base", tokenizer_dir=words, seed=seed, **vlm
        ),
    }
    trained = made[part]()
    iterations = run["iterations"] or max(1, round(trained.schedule.iterations * scale))
    return train(trained, **run | {"iterations": iterations})


def _use(threads: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    import torch

    from interleave_rt.backends.torch.residency import roomy_heap

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 on cards; nothing changes on a CPU
    torch.set_flush_denormal(True)
    roomy_heap()


def train_parts(
    part: str,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    iterations: int | None = None,
    minutes: float | None = None,
    threads: int = 1,
    start_from: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    batch: int | None = None,
    every: int | None = None,
    anneal: bool = False,
    scale: float = 1.0,
    jobs: int = 1,
) -> None:
    """Train one of `PARTS`, or "all" of them; prints the result of each as a line of JSON.

    With `start_from`, one of `CONTINUED` begins with these saved weights of its own kind instead of new ones. Those of
    `ON_A_CARD` run on a torch `device` with examples drawn by so many `workers`, `batch` of them an update; `every` so
    many iterations there is a checkpoint. `anneal`: as `loop.train`. `scale` is a factor of every part's own length, and
    does nothing where there are `iterations`. Of all parts, `jobs` at a time are trained by processes of their own;
    `resume` does not train again what such a run has finished.

    Raises:
        BadRequestError: An input is missing.
        InterleaveError: A part's process has failed.
    """
    told: dict[str, Any] = {
        "resume": resume,
        "minutes": minutes,
        "iterations": iterations,
        "every": every,
        "anneal": anneal,
    }
    vlm = {"device": device, "workers": workers} | ({} if batch is None else {"batch": batch})
    arguments = (out, seed, start_from, scale, told, vlm)
    if part != "all":
        return _one_part(OLD_NAMES.get(part, part), threads, arguments)
    length = {"seed": seed, "scale": scale, "iterations": iterations}
    one = partial(_one_part, threads=threads, arguments=arguments)
    all_parts(one, out, length, jobs=jobs, resume=resume, whole=minutes is None)
    return None


def _one_part(part: str, threads: int, arguments: tuple[Any, ...]) -> None:
    _use(threads)
    print(json.dumps({part: _train(part, *arguments)}), flush=True)


def _check(story: Path) -> int:
    from interleave_rt.worlds.shapes.check import check_story

    findings = check_story(story)
    for finding in findings:
        word = "right" if finding.right else "WRONG"
        print(f"step {finding.step_number}: {word}  {finding.prompt}  (saw: {finding.seen.describe()})")
    right = sum(finding.right for finding in findings)
    print(f"the oracle calls {right} of {len(findings)} pictures right")
    return 0 if findings and right == len(findings) else 1


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "shapes-check":
        return _check(arguments.story)
    if arguments.command == "shapes-base":
        from interleave_rt.pack import load_pack

        from .from_pack import write_checkpoints

        write_checkpoints(load_pack(), arguments.out)
        return 0
    if arguments.command == "shapes-average":
        from .vlm import average

        average(arguments.one, arguments.other, arguments.share, arguments.out)
        return 0
    _use(arguments.threads)
    from .evaluate import evaluate

    print(json.dumps(evaluate(arguments.out, count=arguments.count, seed=arguments.seed), indent=2))
    return 0
