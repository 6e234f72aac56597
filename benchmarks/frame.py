"""What the commands here share: options, made-up roles at the ratios of real models, and one JSON object at the end."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from interleave_rt.backends.scripted import Script
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.runner import Progress


def parser_of(
    doc: str | None,
    *,
    requests: int | None = None,
    seed: int | None = 1,
    output: bool = False,
    pack: bool = True,
) -> argparse.ArgumentParser:
    """Options that most commands have; `doc` is the module's."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if requests is not None:
        parser.add_argument("--requests", type=int, default=requests)
    if seed is not None:
        parser.add_argument("--seed", type=int, default=seed)
    if output:
        parser.add_argument("--output", type=Path, help="JSON file")
    if pack:
        parser.add_argument("--pack", help="default: the embedded one")
    return parser


def ratios_of_real_models(scale: float = 1.0, steps: int = 5, **settings: Any) -> Script:
    """G = 60 ms in four denoising steps, C = 60 ms with the verdict at 40, a plan of 160 ms with the first step at 40."""
    return Script(
        planner_ms=160 * scale,
        first_step_ms=40 * scale,
        generator_ms=60 * scale,
        denoise_steps=4,
        critic_ms=60 * scale,
        verdict_ms=40 * scale,
        min_steps=steps,
        max_steps=steps,
        **settings,
    )


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def say(text: object) -> None:
    """A line for whoever waits; standard output holds the result alone."""
    print(text if isinstance(text, str) else json.dumps(text), file=sys.stderr, flush=True)


class Said(Progress):
    """Says what is decided."""

    def say(self, text: str) -> None:
        say(text)


def finish(document: dict[str, Any], *, holds: bool = True, output: Path | None = None) -> int:
    """Prints the result, writes it where it was asked for, and returns the exit code."""
    text = json.dumps(document, indent=2)
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if holds else 1


def held(rows: list[dict[str, Any]], seed: int) -> int:
    """`finish` for rows that each say whether their bounds hold."""
    holds = all(row["holds"] for row in rows)
    return finish(
        {"seed": seed, "holds": holds, "rows": rows, "environment": describe_environment(gpu=False)},
        holds=holds,
    )
