"""Rows of the whole loop: step success by the number of tries, and what the critic's prompts are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .figures import Row, Target
from .intervals import difference, share
from .outcomes import Outcome, StepOutcome
from .samples import USUAL, Keep, Samples

__all__ = ["enough_outcomes", "measure_loop", "measure_refined"]

_SEQUENCES = 1000
_MOST = 3000  # sequences that are made to find enough of something
_CHUNK = 100
_REFINED = 500
_TRIES = (1, 3, 5)
_KEEPS: tuple[Keep, ...] = ("last", "best")
_GAIN = 0.15


def measure_loop(samples: Samples) -> Row:
    """A step succeeds when its final picture shows, cleanly, what its prompt means on the picture before it."""
    row = Row("loop")
    count = samples.settings.size(_SEQUENCES)
    for keep in _KEEPS:
        steps = {}
        for tries in _TRIES:
            # with one try there is nothing to choose from: both ways are the same
            outcomes = samples.outcomes(tries, keep if tries > 1 else "last", count)
            row.failed += sum(one.failed for one in outcomes) if tries > 1 or keep == "last" else 0
            steps[tries] = share(step.right for one in outcomes for step in one.steps)
            _add(row, f"{keep}/t{tries}", f"keep {keep}, T_max {tries}", outcomes)
        few, some, many = (steps[tries] for tries in _TRIES)
        gain = difference(many, few)
        row.value(
            f"{keep}/gain",
            f"keep {keep}: step success at T_max 5 less that at 1",
            gain and gain[0],
            many.n,
            interval=gain and gain[1],
            target=Target(low=_GAIN),
        )
        row.value(
            f"{keep}/between",
            f"keep {keep}: step success at T_max 3 lies between",
            some.value,
            some.n,
            interval=some.interval,
            target=Target(few.value, many.value),
        )
    return row


def _add(row: Row, name: str, what: str, outcomes: Sequence[Outcome]) -> None:
    steps = [step for one in outcomes for step in one.steps]
    row.share(f"{name}/steps", f"{what}: steps", [step.right for step in steps])
    row.share(f"{name}/sequences", "- sequences in which every step is right", [o.right for o in outcomes])
    row.share(
        f"{name}/asked",
        "- sequences that show what was asked for",
        [one.right and one.plan_right for one in outcomes],
    )
    tries = sum(len(step.tries) for step in steps)
    row.value(
        f"{name}/tries",
        "- pictures made for a step",
        tries / len(steps) if steps else None,
        len(steps),
        unit="count",
    )


def measure_refined(samples: Samples) -> Row:
    """Pictures by the critic's prompts, after a picture that was wrong and was refused."""
    row = Row("refined")
    wanted = samples.settings.size(_REFINED)
    outcomes = enough_outcomes(samples, lambda found: len(_mended(found)) >= wanted)
    mended = _mended(outcomes)
    row.share("refined", "all of them", [right for _, right in mended], Target(0.65, 0.85))
    for number in sorted({number for number, _ in mended}):
        hits = [right for at, right in mended if at == number]
        row.share(f"refined/{number}", f"- picture {number} of the step", hits)
    row.failed = sum(one.failed for one in outcomes)
    row.details["sequences"] = len(outcomes)
    return row


def _mended(outcomes: Sequence[Outcome]) -> list[tuple[int, bool]]:
    """(number of the picture in its step, right) of every try after a true refusal."""
    return [found for one in outcomes for step in one.steps for found in _mended_in(step)]


def _mended_in(step: StepOutcome) -> list[tuple[int, bool]]:
    if not step.meaning:  # nothing that could be drawn would be right
        return []
    pairs = zip(step.tries, step.tries[1:], strict=False)
    return [
        (number, after.right)
        for number, (before, after) in enumerate(pairs, start=2)
        if after.refined and before.accepted is False and not before.right
    ]


def enough_outcomes(samples: Samples, enough: Callable[[Sequence[Outcome]], bool]) -> list[Outcome]:
    """Sequences of the usual setting: those that the row of the loop needs anyway, and more until there are enough."""
    most = samples.settings.size(_MOST)
    first = samples.settings.size(_SEQUENCES) if "loop" in samples.settings.rows else _CHUNK
    count = min(most, max(first, samples.made(*USUAL)))
    while True:
        outcomes = samples.outcomes(*USUAL, count)
        if enough(outcomes) or count >= most:
            return outcomes
        count = min(most, count + _CHUNK)
