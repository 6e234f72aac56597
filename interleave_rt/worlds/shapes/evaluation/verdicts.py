"""The row of the critic: its verdicts on real pictures of the generator, and how far its p can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from .calibration import Judged, balanced_accuracy, best_threshold, calibration_error, reliability
from .figures import Row, Target
from .loop import enough_outcomes
from .outcomes import Outcome, Try
from .samples import Samples

__all__ = ["measure_critic"]

_EACH = 500  # right pictures, and wrong ones


def measure_critic(samples: Samples) -> Row:
    """Every picture that the critic is asked about in the loop, in the mixture that comes about there.

    Left out are steps whose prompt means nothing on the picture before: no picture would be right.
    """
    row = Row("critic")
    each = samples.settings.size(_EACH)

    def enough(found: Sequence[Outcome]) -> bool:
        right = [one.right for one in _asked(found)]
        return sum(right) >= each and len(right) - sum(right) >= each

    outcomes = enough_outcomes(samples, enough)
    tries = _asked(outcomes)
    judged: list[Judged] = [(one.p, one.right) for one in tries if one.p is not None]
    bins = reliability(judged)
    row.share(
        "right",
        "right pictures accepted",
        [bool(one.accepted) for one in tries if one.right],
        Target(low=0.95),
    )
    row.share(
        "wrong",
        "wrong pictures refused",
        [not one.accepted for one in tries if not one.right],
        Target(low=0.85),
    )
    row.value(
        "calibration",
        "calibration error of p(success), 15 bins",
        calibration_error(bins),
        len(judged),
        target=Target(high=0.08),
        unit="p",
    )
    steps = [step for one in outcomes for step in one.steps if step.meaning]
    row.share(
        "stubborn",
        "steps in which right pictures are refused three times in a row",
        [step.stubborn for step in steps],
        Target(high=0.01),
    )
    row.share("pictures_right", "of these pictures are right", [one.right for one in tries])
    best = best_threshold(judged)
    row.value("balanced", "balanced accuracy of p at 0.5", balanced_accuracy(judged, 0.5), len(judged))
    row.value("threshold", "threshold on p with the best one", best and best[0], len(judged), unit="p")
    row.value("balanced/best", "- balanced accuracy there", best and best[1], len(judged))
    row.failed = sum(one.failed for one in outcomes)
    row.details["bins"] = [one.as_dict() for one in bins]
    row.details["sequences"] = len(outcomes)
    row.details["without_meaning"] = sum(not step.meaning for one in outcomes for step in one.steps)
    return row


def _asked(outcomes: Sequence[Outcome]) -> list[Try]:
    return [
        one
        for outcome in outcomes
        for step in outcome.steps
        if step.meaning
        for one in step.tries
        if one.accepted is not None
    ]
