"""The arithmetic of a benchmark: percentiles, and ratios with intervals from paired samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Ratio", "describe", "flatten", "lower_bound_of_median", "median_ratio", "ratio_of_means"]

RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with its 95 % interval; one pair alone has none."""

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


def ratio_of_means(base: Sequence[float], other: Sequence[float], seed: int = 0) -> Ratio | None:
    """mean(base) / mean(other) over pairs, interval by bootstrap over the pairs."""
    a, b = _pairs(base, other)
    if a.size == 0:
        return None
    drawn = _draws(a.size, seed)
    return _ratio(float(a.mean() / b.mean()), a[drawn].mean(axis=1) / b[drawn].mean(axis=1), a.size)


def median_ratio(base: Sequence[float], other: Sequence[float], seed: int = 0) -> Ratio | None:
    """The median of base / other over pairs, interval by bootstrap over the pairs."""
    a, b = _pairs(base, other)
    if a.size == 0:
        return None
    ratios = a / b
    medians = np.median(ratios[_draws(a.size, seed)], axis=1)
    return _ratio(float(np.median(ratios)), medians, a.size)


def lower_bound_of_median(ratios: Sequence[float], seed: int = 0, level: float = 0.95) -> float:
    """The one-sided lower bound of the median of some ratios, by bootstrap."""
    values = np.asarray(ratios, dtype=float)
    medians = np.median(values[_draws(values.size, seed)], axis=1)
    return float(np.quantile(medians, 1.0 - level))


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
    if pairs < 2:
        return Ratio(value, None, None, pairs)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Ratio(value, float(low), float(high), pairs)
