"""A result as one JSON object: what `result.json` holds and `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from interleave_rt.types import Attempt, Result, Verdict

__all__ = ["FORMAT", "attempt_file", "result_document", "step_file"]

FORMAT = "interleave-rt.result/1"


def step_file(number: int) -> str:
    """The name of a step's final image."""
    return f"step-{number}.png"


def attempt_file(number: int, attempt: int) -> str:
    """The name of an image that was not kept."""
    return f"attempts/step-{number}-{attempt}.png"


def result_document(result: Result, prefix: str = "") -> dict[str, Any]:
    """The whole result; image paths begin with `prefix`."""
    return {
        "format": FORMAT,
        "request": result.request,
        "outcome": result.outcome,
        "error": result.error.as_dict() if result.error else None,
        "plan_truncated": result.plan_truncated,
        "plan": [step.as_dict() for step in result.plan],
        "steps": [
            {
                "step_number": step.step_number,
                "step_name": step.plan.step_name,
                "text": step.text,
                "image": prefix + step_file(step.step_number) if step.pixels is not None else None,
                "accepted": step.accepted,
                "attempts": [
                    _attempt(attempt, prefix + _file(step.step_number, attempt, step.pixels))
                    for attempt in step.attempts
                ],
            }
            for step in result.steps
        ],
        "timings": result.timings.as_dict(),
        "speculation": result.speculation.as_dict(),
        "options": _options(result),
        "pack": public_pack(result.pack),
    }


def _options(result: Result) -> dict[str, Any]:
    options = asdict(result.options)
    options["devices"]["raw_images"] = True  # no switch any more; the key stays for readers of the format
    return options


def public_pack(pack: Mapping[str, str]) -> dict[str, str]:
    """What is said of a pack outside this machine: not where it lies."""
    return {name: value for name, value in pack.items() if name != "path"}


def _file(number: int, attempt: Attempt, final: object) -> str:
    return step_file(number) if attempt.pixels is final else attempt_file(number, attempt.number)


def _attempt(attempt: Attempt, path: str) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "prompt": attempt.prompt,
        "seed": attempt.seed,
        "image": path if attempt.pixels is not None else None,
        "image_hash": f"{attempt.image_hash:016x}",
        "verdict": _verdict(attempt.verdict),
        "refused_unreadable": attempt.refused_unreadable,
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "previous_step_success": verdict.accepted,
        "p_success": verdict.p_success,
        "refine_prompt": verdict.refined,
        "reasoning": verdict.reasoning,
    }
