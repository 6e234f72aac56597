"""How far a probability can be believed: reliability bins, calibration error, the best threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .intervals import Share

__all__ = ["Bin", "Judged", "balanced_accuracy", "best_threshold", "calibration_error", "reliability"]

BINS = 15

Judged = tuple[float, bool]
"""p(success) as the critic gave it, and whether the picture is right."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures whose p lies in [low, high) (the last bin holds 1.0, too)."""

    low: float
    high: float
    mean_p: float | None
    right: Share

    def as_dict(self) -> dict[str, Any]:
        """Plain data, rounded."""
        return {
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "mean_p": None if self.mean_p is None else round(self.mean_p, 4),
            **self.right.as_dict(),
        }


def reliability(judged: Sequence[Judged], bins: int = BINS) -> list[Bin]:
    """Bins of equal width over 0..1, the empty ones included."""
    groups: list[list[Judged]] = [[] for _ in range(bins)]
    for one in judged:
        groups[min(bins - 1, int(one[0] * bins))].append(one)
    return [
        Bin(
            i / bins,
            (i + 1) / bins,
            float(np.mean([p for p, _ in group])) if group else None,
            Share(sum(right for _, right in group), len(group)),
        )
        for i, group in enumerate(groups)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error: mean distance of p and share over the bins, by their pictures."""
    total = sum(one.right.n for one in bins)
    if not total:
        return None
    parts = [
        one.right.n / total * abs(one.mean_p - one.right.value)
        for one in bins
        if one.mean_p is not None and one.right.value is not None
    ]
    return float(sum(parts))


def balanced_accuracy(judged: Sequence[Judged], threshold: float) -> float | None:
    """Mean of the shares of right pictures with p >= threshold and wrong ones below; None where a kind is missing."""
    right = [p >= threshold for p, ok in judged if ok]
    wrong = [p < threshold for p, ok in judged if not ok]
    return (float(np.mean(right)) + float(np.mean(wrong))) / 2 if right and wrong else None


def best_threshold(judged: Sequence[Judged]) -> tuple[float, float] | None:
    """(threshold, balanced accuracy) at the threshold where that is largest; of equals the one nearest to one half.

    Thresholds lie halfway between neighbouring values of p; None where all pictures are right, or all are wrong.
    """
    p = np.array([one for one, _ in judged], np.float64)
    right = np.array([ok for _, ok in judged], np.bool_)
    if right.all() or not right.any():
        return None
    values, places = np.unique(p, return_inverse=True)
    rights = np.bincount(places[right], minlength=len(values))
    wrongs = np.bincount(places[~right], minlength=len(values))
    # with cut k the k smallest values are refused
    accepted = 1 - np.concatenate([[0], np.cumsum(rights)]) / rights.sum()
    refused = np.concatenate([[0], np.cumsum(wrongs)]) / wrongs.sum()
    scores = (accepted + refused) / 2
    cuts = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]])
    # scores are quotients of counts: equal ones may differ by a rounding
    best = np.flatnonzero(scores > scores.max() - 1e-12)
    chosen = best[np.abs(cuts[best] - 0.5).argmin()]
    return float(cuts[chosen]), float(scores[chosen])
