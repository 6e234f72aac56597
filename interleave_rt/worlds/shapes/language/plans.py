"""A request with its one right plan, and the side of the held-out split that it is on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from interleave_rt.worlds.shapes.scene import Scene, Transition

from .clauses import Clause

Mode = Literal["narrative", "guidance"]
Split = Literal["train", "validation", "test"]
Groups = tuple[Sequence[int], ...]
"""Cells that an answer is found by: those of one thing or kind after the other's; none where it is the background."""

MOST_STEPS = 6
"""The longest plan of a request in the words of people."""
_HELD_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as the planner writes it (its number follows from the order)."""

    instruction: str | None
    prompt: str | None
    auxiliary_text: str | None
    step_name: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its plan.

    `images` are the scenes of the pictures given with it (at the `<image>` markers of `text`), `scenes` what is to
    be seen after each step (empty for a question that is answered in words). `swapped`, where there is one, makes
    the same text with other pictures, whose right plan is another one (or None where it finds none). `looked` is what
    an answer about pictures is found by, on the last of them.
    """

    text: str
    mode: Mode
    kind: str
    images: tuple[Scene, ...]
    steps: tuple[PlanStep, ...]
    scenes: tuple[Scene, ...]
    split: Split
    composite: str | None = None
    looked: Groups = ()
    swapped: Callable[[random.Random], Request | None] | None = field(default=None, compare=False, repr=False)

    @property
    def first_number(self) -> int:
        """The step number that the plan starts with."""
        return len(self.images) + 1

    @property
    def plan_key(self) -> str:
        """The canonical plan: the pictures that are given, and what is to be seen (or said) after every step."""
        seen = [scene.describe() for scene in (*self.images, *self.scenes)]
        said = [step.auxiliary_text or "" for step in self.steps if step.prompt is None]
        return "\n".join([*seen, *said, *(step.prompt or "" for step in self.steps)])


def split_of(plan: Iterable[str]) -> Split:
    """Train, validation or test.

    What is drawn, in which order and by which operations (`plan`) decides alone, so that no plan is in two splits,
    however it is asked for.
    """
    digest = hashlib.sha256("\n".join(plan).encode()).digest()
    if digest[0] >= _HELD_SHARE * 256:
        return "train"
    return "test" if digest[1] % 2 else "validation"


def operations(steps: Iterable[Transition], images: tuple[Scene, ...] = ()) -> list[str]:
    """The canonical content of a plan: given pictures, scene after every step, and the operations."""
    found = [f"given {image.describe()}" for image in images]
    return found + [f"{step.operation}: {step.after.describe()}" for step in steps]


def plan_steps(clauses: list[Clause], explain: bool) -> tuple[PlanStep, ...]:
    """The steps of wishes, with a short text each if so asked."""
    return tuple(
        PlanStep(c.instruction, c.prompt, f"This is the {c.name}." if explain else None, c.name)
        for c in clauses
    )


def answer(text: str, kind: str, images: tuple[Scene, ...], reply: str, looked: Groups = ()) -> Request:
    """A request that is answered in words."""
    step = PlanStep(None, None, reply, "answer")
    # what is asked of a picture has one answer in many wordings; without one, the wording is all there is
    content = [*(image.describe() for image in images), reply if images else text]
    mode: Mode = "guidance" if images else "narrative"
    kept = tuple(tuple(cells) for cells in looked)
    return Request(text, mode, kind, images, (step,), (), split_of(content), looked=kept)
