"""The sequential loop, as plainly as it can be said. Every speculative, batched and streamed run must equal it.

This file is the specification that the tests hold the engine to (law 1); nothing in it may be clever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .errors import BackendFailedError
from .types import Options, PlanStep, Request, Verdict

__all__ = ["Roles", "run_reference"]


class Roles(Protocol):
    """The three models, one call at a time. A picture is whatever they pass around; None is no picture."""

    def plan(
        self, request: Request, max_steps: int, seed: int, retry: int
    ) -> tuple[Sequence[PlanStep], bool]:
        """The steps that could be read (none: unreadable), and whether the plan was cut short."""

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        """A picture from a prompt, starting from `source` where there is one."""

    def judge(
        self, before: Any, after: Any, original: str, used: str, seed: int, retry: int
    ) -> Verdict | None:
        """The critic's verdict; None where it cannot be read. Without a `before` the critic sees white."""

    def last_input(self, request: Request) -> Any:
        """The last input picture, or None."""

    def hash_of(self, picture: Any) -> int:
        """The content hash that canonical results compare."""

    def seed_of(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        """The seed of a call: a pure function of the request's seed and the call's place."""


def run_reference(request: Request, options: Options, roles: Roles) -> dict[str, Any]:
    """The canonical result of a request (compare with `Result.canonical`)."""
    steps, truncated = _plan(request, options, roles)
    source = roles.last_input(request)
    committed = []
    for index, step in enumerate(steps):
        attempts: list[dict[str, Any]] = []
        accepted = None
        if step.prompt is not None:  # a step without a prompt is text only
            attempts, accepted, source = _image_step(index, step.prompt, source, options, roles)
        committed.append({"step": step.as_dict(), "attempts": attempts, "accepted": accepted})
    return {"steps": committed, "plan_truncated": truncated}


def _plan(request: Request, options: Options, roles: Roles) -> tuple[Sequence[PlanStep], bool]:
    for retry in (0, 1):
        seed = roles.seed_of(options, "plan", 0, 0, retry)
        steps, truncated = roles.plan(request, options.max_steps, seed, retry)
        if steps:
            return steps, truncated
    raise BackendFailedError("the plan could not be read, twice")


def _image_step(
    index: int, original: str, source: Any, options: Options, roles: Roles
) -> tuple[list[dict[str, Any]], bool | None, Any]:
    prompt = original
    attempts, pictures, verdicts = [], [], []
    for number in range(1, options.t_max + 1):
        seed = roles.seed_of(options, "generate", index, number, 0)
        picture = roles.generate(prompt, source, seed, options)  # every retry starts again from `source`
        verdict = None
        if options.judges_attempt(number):
            verdict = _judge(index, number, source, picture, original, prompt, options, roles)
        pictures.append(picture)
        verdicts.append(verdict)
        attempts.append(
            {
                "prompt": prompt,
                "seed": seed,
                "image": f"{roles.hash_of(picture):016x}",
                "verdict": verdict.canonical() if verdict else None,
            }
        )
        if verdict is None or verdict.accepted:  # not judged, not readably judged, or good: final
            break
        if verdict.refined is not None:
            prompt = verdict.refined
    final = len(attempts) - 1
    if options.keep == "best" and all(verdict is not None and not verdict.accepted for verdict in verdicts):
        scores = [verdict.p_success for verdict in verdicts if verdict is not None]
        final = max(range(len(scores)), key=lambda i: (scores[i], i))  # of equals the latest
    kept = verdicts[final]
    return attempts, None if kept is None else kept.accepted, pictures[final]


def _judge(
    index: int, number: int, before: Any, after: Any, original: str, used: str, options: Options, roles: Roles
) -> Verdict | None:
    for retry in (0, 1):
        seed = roles.seed_of(options, "judge", index, number, retry)
        verdict = roles.judge(before, after, original, used, seed, retry)
        if verdict is not None:
            return verdict
    return None
