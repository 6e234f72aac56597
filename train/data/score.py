"""Scores of an attempt, 0 to 10, as VIEScore composes them; and the shape of a step's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

__all__ = ["Score", "drop_from_best", "fall", "overall", "quality", "semantics", "variance"]


def semantics(edit_success: float, over_editing: float) -> float:
    """How well the wish was met: the worse of "it was done" and "nothing else was" (10: nothing else was)."""
    return min(edit_success, over_editing)


def quality(naturalness: float, artefacts: float) -> float:
    """How good the picture is by itself: the worse of natural and unbroken (10: no artefacts)."""
    return min(naturalness, artefacts)


def overall(semantic: float, quality_: float) -> float:
    """The geometric mean of the two."""
    return sqrt(semantic * quality_)


@dataclass(frozen=True, slots=True)
class Score:
    """What the scorer gave an attempt: four numbers, 0 to 10."""

    edit_success: float
    over_editing: float
    naturalness: float
    artefacts: float

    @property
    def semantics(self) -> float:
        """See `semantics`."""
        return semantics(self.edit_success, self.over_editing)

    @property
    def quality(self) -> float:
        """See `quality`."""
        return quality(self.naturalness, self.artefacts)

    @property
    def overall(self) -> float:
        """See `overall`."""
        return overall(self.semantics, self.quality)


def variance(scores: Sequence[float]) -> float:
    """Of a step's scores, as of a whole population; 0 where there is one."""
    mean = sum(scores) / len(scores)
    return sum((score - mean) ** 2 for score in scores) / len(scores)


def fall(scores: Sequence[float]) -> float:
    """How far the scores fall from the first to the last, by their least-squares line; negative where they rise."""
    count = len(scores)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(scores) / count
    slope = sum((i - middle) * (score - mean) for i, score in enumerate(scores))
    return -slope / sum((i - middle) ** 2 for i in range(count)) * (count - 1)


def drop_from_best(scores: Sequence[float]) -> float:
    """How far the last score lies below the best one."""
    return max(scores) - scores[-1]
