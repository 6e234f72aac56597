"""Results of the engine as the oracle sees them: which tries were right, and which were final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interleave_rt.request import Options, Request
from interleave_rt.result import Result
from interleave_rt.roles import Roles
from interleave_rt.roles.reference import run_reference
from interleave_rt.wire import Attempt, PlanStep, Step, Verdict
from interleave_rt.worlds.shapes.language import Request as Task
from interleave_rt.worlds.shapes.language import apply
from interleave_rt.worlds.shapes.oracle import Reading, read
from interleave_rt.worlds.shapes.scene import Pixels, Scene

from .wording import Plan, plan_exact

__all__ = ["Outcome", "StepOutcome", "Try", "drawn_steps", "look_at", "run_roles", "step_successes"]


_STUBBORN = 3


@dataclass(frozen=True, slots=True)
class Try:
    """One picture of a step. `accepted` and `p` are None where the critic was not asked (or not readable).

    `refined`: its prompt is one that the critic wrote after the try before.
    """

    right: bool
    accepted: bool | None
    p: float | None
    refined: bool


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step that makes a picture. `meaning`: its prompt means something on the picture before it."""

    meaning: bool
    right: bool
    tries: tuple[Try, ...]

    @property
    def stubborn(self) -> bool:
        """Whether the critic has refused a right picture at least three times in a row."""
        refused = [one.right and one.accepted is False for one in self.tries]
        return any(all(refused[i : i + _STUBBORN]) for i in range(len(refused) - _STUBBORN + 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request that has ended; one that failed has no steps."""

    plan_right: bool
    steps: tuple[StepOutcome, ...]
    failed: bool = False

    @property
    def right(self) -> bool:
        """Whether every picture shows what its prompt means on the picture before it."""
        return bool(self.steps) and all(step.right for step in self.steps)


class _Remembered:
    """Roles whose pictures can be had by their hashes afterwards."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.pictures: dict[int, Pixels] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._roles, name)

    def hash_of(self, picture: Pixels) -> int:
        found = self._roles.hash_of(picture)
        self.pictures[found] = picture
        return found


def run_roles(request: Request, options: Options, roles: Roles) -> Result:
    """What the reference loop makes of a request with any roles; of a step's pictures the last one is kept."""
    kept = _Remembered(roles)
    made = run_reference(request, options, kept)
    steps = []
    for one in made["steps"]:
        attempts = []
        for number, told in enumerate(one["attempts"], start=1):
            key, verdict = int(told["image"], 16), told["verdict"] and Verdict(**told["verdict"])
            attempts.append(Attempt(number, told["prompt"], told["seed"], key, kept.pictures[key], verdict))
        final = attempts[-1].pixels if attempts else None
        steps.append(Step(PlanStep(**one["step"]), tuple(attempts), final, one["accepted"]))
    plan = tuple(step.plan for step in steps)
    return Result(request.text, options, tuple(steps), "finished", plan, made["plan_truncated"])


def drawn_steps(result: Any) -> list[Any]:
    """The steps that have made a picture."""
    return [step for step in result.steps if step.plan.prompt is not None and step.pixels is not None]


def look_at(result: Result, task: Task) -> Outcome:
    """What the oracle says of a finished request."""
    before: Scene | None = task.images[-1] if task.images else None
    steps = []
    for step in drawn_steps(result):
        wanted = apply(before, step.plan.prompt)
        readings = _readings(step)
        tries = tuple(
            _judged(attempt, readings.get(id(attempt.pixels)), wanted, step.attempts[:i])
            for i, attempt in enumerate(step.attempts)
        )
        final = readings[id(step.pixels)]
        steps.append(StepOutcome(wanted is not None, _shows(final, wanted), tries))
        before = final.scene
    plan = Plan(tuple(step.plan for step in result.steps), result.plan_truncated)
    return Outcome(plan_exact(plan, task), tuple(steps))


def _readings(step: Step) -> dict[int, Reading]:
    """What is on every picture of a step, by the picture's identity."""
    pictures: list[Pixels | None] = [step.pixels, *(attempt.pixels for attempt in step.attempts)]
    different = {id(pixels): pixels for pixels in pictures if pixels is not None}
    return {key: read(pixels) for key, pixels in different.items()}


def _shows(reading: Reading | None, wanted: Scene | None) -> bool:
    return reading is not None and wanted is not None and reading.clean and reading.scene == wanted


def _judged(
    attempt: Attempt, reading: Reading | None, wanted: Scene | None, before: Sequence[Attempt]
) -> Try:
    said = before[-1].verdict if before else None
    return Try(
        right=_shows(reading, wanted),
        accepted=None if attempt.verdict is None else attempt.verdict.accepted,
        p=None if attempt.verdict is None else attempt.verdict.p_success,
        refined=said is not None and not said.accepted and said.refined == attempt.prompt,
    )


def step_successes(result: Any) -> list[bool]:
    """For each step with a picture: whether its final one shows what the prompt means on the picture before it.

    Also for results of another runtime that only have `steps` with `plan` and `pixels`.
    """
    before: Scene | None = None
    found = []
    for step in drawn_steps(result):
        reading = read(step.pixels)
        found.append(_shows(reading, apply(before, step.plan.prompt)))
        before = reading.scene
    return found
