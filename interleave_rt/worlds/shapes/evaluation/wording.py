"""Plans held against the right one: by the scenes that their prompts give, or by the words of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interleave_rt.wire import PlanStep
from interleave_rt.worlds.shapes.language import HONEST, apply, is_honest
from interleave_rt.worlds.shapes.language import Request as Task
from interleave_rt.worlds.shapes.scene import Pixels, Scene

__all__ = ["Plan", "Planned", "declines", "described", "plan_exact", "says_so", "told"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it could be read."""

    steps: tuple[PlanStep, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A request, the pictures that were given with it, and the plan (None: unreadable, or an error)."""

    task: Task
    pictures: tuple[Pixels, ...]
    plan: Plan | None


def plan_exact(plan: Plan | None, task: Task) -> bool:
    """Whether the plan's prompts, carried out to the letter, give the wanted scene after every step.

    The first step starts from the last given picture, and the numbers go on from the pictures. A question has to be
    answered in exactly the right words, without a picture.
    """
    if plan is None or plan.truncated:
        return False
    if [step.step_number for step in plan.steps] != [task.first_number + i for i in range(len(task.steps))]:
        return False
    if not task.scenes:
        return all(
            step.prompt is None and step.auxiliary_text == right.auxiliary_text
            for step, right in zip(plan.steps, task.steps, strict=True)
        )
    scene: Scene | None = task.images[-1] if task.images else None
    for step, wanted in zip(plan.steps, task.scenes, strict=True):
        scene = apply(scene, step.prompt) if step.prompt else None
        if scene != wanted:
            return False
    return True


def says_so(plan: Plan | None) -> bool:
    """Whether the plan makes no picture, says that it cannot, and what can be had."""
    return plan is not None and is_honest([step.as_dict() for step in plan.steps])


def declines(plan: Plan | None) -> bool:
    """Whether the plan says that it cannot, however it goes on."""
    return plan is not None and any((step.auxiliary_text or "").startswith(HONEST) for step in plan.steps)


def told(plan: Plan | None) -> list[str]:
    """The plan in short: every step's prompt, or its words where it has none."""
    return [] if plan is None else [step.prompt or f"({step.text})" for step in plan.steps]


def described(task: Task) -> dict[str, Any]:
    """A request as plain data: text, given pictures, and what its right plan leads to."""
    return {
        "text": task.text,
        "pictures": [scene.describe() for scene in task.images],
        "wanted": [scene.describe() for scene in task.scenes] or [step.auxiliary_text for step in task.steps],
    }
