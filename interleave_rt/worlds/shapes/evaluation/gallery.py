"""A few results for people to look at: what went right, what was mended, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from interleave_rt.result import Result
from interleave_rt.worlds.shapes.oracle import read
from interleave_rt.worlds.shapes.scene import Pixels

from .outcomes import Outcome, StepOutcome

__all__ = ["Gallery", "Mistake", "Story", "StoryStep", "StoryTry"]

_EACH = 4  # stories of a kind
_MISTAKES = 12  # of a kind, the first ones


@dataclass(frozen=True, slots=True)
class StoryTry:
    """One picture with what was said of it; `seen` is the oracle's word where the picture is wrong."""

    pixels: Pixels | None
    prompt: str
    right: bool
    accepted: bool | None
    p: float | None
    seen: str | None
    final: bool


@dataclass(frozen=True, slots=True)
class StoryStep:
    """One step of a story."""

    text: str
    right: bool
    tries: tuple[StoryTry, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A whole sequence."""

    request: str
    steps: tuple[StoryStep, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A request whose plan was wrong, in words; with the pictures that were given."""

    request: str
    pictures: tuple[Pixels, ...]
    wanted: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(slots=True)
class Gallery:
    """The first results of each kind, so that nobody has chosen them."""

    successes: list[Story] = field(default_factory=list)
    recoveries: list[Story] = field(default_factory=list)
    failures: list[Story] = field(default_factory=list)
    mistakes: dict[str, list[Mistake]] = field(default_factory=dict)

    def offer(self, result: Result, outcome: Outcome) -> None:
        """Keep a sequence where there is room: right at once, right after a true refusal, or wrong in the end."""
        if not outcome.steps:
            return
        if not outcome.right:
            shelf = self.failures
        elif all(len(step.tries) == 1 for step in outcome.steps):
            shelf = self.successes if len(outcome.steps) > 2 else []  # one picture shows little
        elif any(_recovered(step) for step in outcome.steps):
            shelf = self.recoveries
        else:
            return
        if len(shelf) < _EACH:
            shelf.append(_story(result, outcome))

    def mistake(self, kind: str, mistake: Mistake) -> None:
        """Keep a wrong plan where there is room."""
        shelf = self.mistakes.setdefault(kind, [])
        if len(shelf) < _MISTAKES:
            shelf.append(mistake)


def _recovered(step: StepOutcome) -> bool:
    return step.right and any(one.accepted is False and not one.right for one in step.tries)


def _story(result: Result, outcome: Outcome) -> Story:
    steps = []
    drawn = [step for step in result.steps if step.plan.prompt is not None and step.pixels is not None]
    for step, looked in zip(drawn, outcome.steps, strict=True):
        tries = tuple(
            StoryTry(
                pixels=attempt.pixels,
                prompt=attempt.prompt,
                right=one.right,
                accepted=one.accepted,
                p=one.p,
                seen=None if one.right or attempt.pixels is None else read(attempt.pixels).scene.describe(),
                final=attempt.pixels is step.pixels,
            )
            for attempt, one in zip(step.attempts, looked.tries, strict=True)
        )
        steps.append(StoryStep(step.text, looked.right, tries))
    return Story(result.request, tuple(steps))
