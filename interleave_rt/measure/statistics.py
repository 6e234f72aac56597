"""The arithmetic of a benchmark: percentiles, and ratios with intervals from paired samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["Ratio", "describe", "flatten", "lower_bound_of_median", "median_ratio", "ratio_of_means"]

RESAMPLES = 4000
FEWEST = 5  # pairs, for an interval


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with its 95 % interval; fewer than five pairs have none."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Plain data, rounded."""
        return {
            "ratio": round(self.ratio, 4),
            "low": None if self.low is None else round(self.low, 4),
            "high": None if self.high is None else round(self.high, 4),
            "pairs": self.pairs,
        }


def describe(values: Sequence[float], percentiles: Sequence[float]) -> dict[str, float | None]:
    """Mean and percentiles (linear interpolation); None where there are no values.

    Example:
        >>> describe([1.0, 2.0, 3.0], (50,))
        {'mean': 2.0, 'p50': 2.0}
    """
    names = [f"p{percentile:g}" for percentile in percentiles]
    if not values:
        return dict.fromkeys(["mean", *names])
    found = np.percentile(np.asarray(values, dtype=float), list(percentiles))
    figures = [float(np.mean(values)), *map(float, np.atleast_1d(found))]
    return {name: round(figure, 4) for name, figure in zip(["mean", *names], figures, strict=True)}


def ratio_of_means(
    base: Sequence[float], other: Sequence[float], seed: int = 0, *, intervals: bool = True
) -> Ratio | None:
    """mean(base) / mean(other) over pairs, interval by bootstrap over the pairs."""
    a, b = _pairs(base, other)
    if a.size == 0:
        return None
    found = float(a.mean() / b.mean())
    if not intervals or a.size < FEWEST:
        return Ratio(found, None, None, a.size)
    drawn = _draws(a.size, seed)
    return _ratio(found, a[drawn].mean(axis=1) / b[drawn].mean(axis=1), a.size)


def median_ratio(
    base: Sequence[float], other: Sequence[float], seed: int = 0, *, intervals: bool = True
) -> Ratio | None:
    """The median of base / other over pairs, interval by bootstrap over the pairs."""
    a, b = _pairs(base, other)
    if a.size == 0:
        return None
    ratios = a / b
    found = float(np.median(ratios))
    if not intervals or a.size < FEWEST:
        return Ratio(found, None, None, a.size)
    return _ratio(found, np.median(ratios[_draws(a.size, seed)], axis=1), a.size)


def lower_bound_of_median(ratios: Sequence[float], seed: int = 0, level: float = 0.95) -> float:
    """The one-sided lower bound of the median of some ratios, by bootstrap."""
    values = np.asarray(ratios, dtype=float)
    medians = np.median(values[_draws(values.size, seed)], axis=1)
    return float(np.quantile(medians, _tail(1.0 - level, values.size)))


def flatten(document: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A nested document as dotted keys; lists stay values."""
    flat: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _pairs(
    base: Sequence[float], other: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    both = [
        (a, b)
        for a, b in zip(base, other, strict=True)
        if a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b)
    ]
    return np.array([a for a, _ in both], dtype=float), np.array([b for _, b in both], dtype=float)


def _draws(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))


def _ratio(value: float, resampled: npt.NDArray[np.float64], pairs: int) -> Ratio:
    tail = _tail(0.025, pairs)
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Ratio(value, float(low), float(high), pairs)


def _tail(tail: float, pairs: int) -> float:
    """The share of resamples to cut off, so that few pairs get an interval as wide as Student's t says.

    A percentile interval is too narrow by sqrt((n - 1) / n) z / t: the expanded percentile interval of Hesterberg, "What
    Teachers Should Know About the Bootstrap" (2015), with the expansion of t in 1 / (n - 1) by Cornish and Fisher.
    """
    normal = NormalDist()
    z, freedom = -normal.inv_cdf(tail), max(1, pairs - 1)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return normal.cdf(-t * math.sqrt(pairs / freedom))
