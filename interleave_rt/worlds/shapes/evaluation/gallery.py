"""A few results for people to look at: what went right, what was mended, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from interleave_rt.result import Result

from .outcomes import Outcome, StepOutcome
from .wording import Planned

__all__ = ["Gallery", "Story"]

_EACH = 4  # stories of a kind
_MISTAKES = 12  # of a kind, the first ones

Story = tuple[Result, Outcome]


@dataclass(slots=True)
class Gallery:
    """The first results of each kind, so that nobody has chosen them."""

    successes: list[Story] = field(default_factory=list)
    recoveries: list[Story] = field(default_factory=list)
    failures: list[Story] = field(default_factory=list)
    mistakes: dict[str, list[Planned]] = field(default_factory=dict)

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
            shelf.append((result, outcome))

    def mistake(self, kind: str, mistake: Planned) -> None:
        """Keep a wrong plan where there is room."""
        shelf = self.mistakes.setdefault(kind, [])
        if len(shelf) < _MISTAKES:
            shelf.append(mistake)


def _recovered(step: StepOutcome) -> bool:
    return step.right and any(one.accepted is False and not one.right for one in step.tries)
