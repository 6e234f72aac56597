"""The parts of the recipe in order, for `interleave-rt train shapes`, and `python -m interleave_rt.train` for quick looks."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PARTS", "main", "train_parts"]

PARTS = ("tokenizer", "eyes", "vae", "generator", "pool", "critic", "planner")
"""In the order in which they need each other."""


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
    torch_eval = worlds.add_parser(
        "shapes-eval", help="run the loop of a trained trio in torch, judged by the oracle"
    )
    torch_eval.add_argument(
        "--out", type=Path, default=Path("runs/shapes"), help="directory of the trained trio"
    )
    torch_eval.add_argument("--count", type=int, default=100, help="held-out requests")
    torch_eval.add_argument("--seed", type=int, default=1)
    torch_eval.add_argument("--threads", type=int, default=1)
    return parser


def _train(part: str, out: Path, seed: int, resume: bool, iterations: int | None) -> dict[str, float]:
    length = {} if iterations is None else {"iterations": iterations}
    tokenizer = out / "tokenizer"
    if part == "tokenizer":
        from .tokenizer import train_tokenizer

        return {"tokens": float(train_tokenizer(tokenizer, seed=seed))}
    if part == "eyes":
        from .vision import train_eyes

        return train_eyes(out / "eyes", tokenizer_dir=tokenizer, seed=seed, resume=resume, **length)
    if part == "vae":
        from .vae import train_vae

        return train_vae(out / "vae", seed=seed, resume=resume, **length)
    if part == "generator":
        from .generator import train_generator

        return train_generator(
            out / "generator",
            vae_dir=out / "vae",
            tokenizer_dir=tokenizer,
            seed=seed,
            resume=resume,
            **length,
        )
    if part == "pool":
        from .attempts import make_pool

        return make_pool(out / "pool.pkl", generator_dir=out / "generator", seed=seed)
    if part == "critic":
        from .critic import train_critic

        return train_critic(
            out / "critic",
            tokenizer_dir=tokenizer,
            eyes=out / "eyes",
            pool=out / "pool.pkl",
            seed=seed,
            resume=resume,
            **length,
        )
    from .planner import train_planner

    return train_planner(
        out / "planner",
        tokenizer_dir=tokenizer,
        start_from=out / "critic",
        seed=seed,
        resume=resume,
        **length,
    )


def _use(threads: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def train_parts(
    part: str,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    iterations: int | None = None,
    threads: int = 1,
) -> None:
    """Train one of `PARTS`, or "all" in order; prints the result of each as a line of JSON."""
    _use(threads)
    for name in PARTS if part == "all" else (part,):
        print(json.dumps({name: _train(name, out, seed, resume, iterations)}))


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
    _use(arguments.threads)
    from .evaluate import evaluate

    print(json.dumps(evaluate(arguments.out, count=arguments.count, seed=arguments.seed), indent=2))
    return 0
