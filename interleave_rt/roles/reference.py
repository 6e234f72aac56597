"""The sequential loop, as plainly as it can be said. Every speculative, batched and streamed run must equal it.

This file is the specification that the tests hold the engine to (law 1); nothing in it may be clever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interleave_rt.errors import BackendFailedError
from interleave_rt.request import Options, Request
from interleave_rt.wire import Verdict, WrittenPlan, step_outcome

from .base import Roles


def run_reference(request: Request, options: Options, roles: Roles) -> dict[str, Any]:
    """The canonical result of a request (compare with `Result.canonical`)."""
    plan = _plan(request, options, roles)
    story = roles.inputs(request)  # every picture so far
    committed = []
    for index, step in enumerate(plan.steps):
        attempts: list[dict[str, Any]] = []
        verdicts: list[Verdict | None] = []
        accepted = None
        if step.prompt is not None:  # a step without a prompt is text only
            attempts, verdicts, accepted, final = _image_step(index, step.prompt, story, options, roles)
            story = [*story, final]
        outcome = step_outcome(accepted, verdicts)
        committed.append(
            {"step": step.as_dict(), "attempts": attempts, "accepted": accepted, "outcome": outcome}
        )
    return {"steps": committed, "plan_truncated": plan.truncated}


def _plan(request: Request, options: Options, roles: Roles) -> WrittenPlan:
    plan = _written(request, options, roles, 0)
    if not plan.steps:
        plan = _written(request, options, roles, 1)
    elif plan.violated:  # its steps stand; of the second reading those after them are taken
        again = _written(request, options, roles, 1)
        steps = list(plan.steps)
        for step in again.steps[len(steps) :]:
            steps.append(replace(step, step_number=steps[-1].step_number + 1))
        plan = WrittenPlan(tuple(steps), again.truncated or len(again.steps) < len(plan.steps))
    if not plan.steps:
        raise BackendFailedError("the plan could not be read, twice")
    return plan


def _written(request: Request, options: Options, roles: Roles, retry: int) -> WrittenPlan:
    return roles.plan(request, options.max_steps, roles.seed_of(options, "plan", 0, 0, retry), retry)


def _image_step(
    index: int, original_prompt: str, story: Sequence[Any], options: Options, roles: Roles
) -> tuple[list[dict[str, Any]], list[Verdict | None], bool | None, Any]:
    prompt = original_prompt
    before = story[-1] if story else None
    several = roles.references > 1 and len(story) > 1
    source = story[-roles.references :] if several else before
    attempts, pictures, verdicts = [], [], []
    for number in range(1, options.t_max + 1):
        seed = roles.seed_of(options, "generate", index, number, 0)
        picture = roles.generate(prompt, source, seed, options)  # every retry starts again from `source`
        verdict = None
        if options.judges_attempt(number):
            verdict = _judge(index, number, before, picture, original_prompt, prompt, options, roles)
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
    return attempts, verdicts, None if kept is None else kept.accepted, pictures[final]


def _judge(
    index: int,
    number: int,
    before: Any,
    after: Any,
    original_prompt: str,
    prompt: str,
    options: Options,
    roles: Roles,
) -> Verdict | None:
    for retry in (0, 1):
        seed = roles.seed_of(options, "judge", index, number, retry)
        verdict = roles.judge(before, after, original_prompt, prompt, seed, retry)
        if verdict is not None:
            return verdict
    return None
