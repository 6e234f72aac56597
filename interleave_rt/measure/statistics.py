"""The arithmetic of a benchmark: percentiles, and ratios with intervals from paired samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
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
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
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
    return _ratio(lambda a, b: a.mean(axis=-1) / b.mean(axis=-1), base, other, seed, intervals=intervals)


def median_ratio(
    base: Sequence[float], other: Sequence[float], seed: int = 0, *, intervals: bool = True
) -> Ratio | None:
    """The median of base / other over pairs, interval by bootstrap over the pairs."""
    return _ratio(lambda a, b: np.median(a / b, axis=-1), base, other, seed, intervals=intervals)


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


def _ratio(
    of: Callable[[Array, Array], Any],
    base: Sequence[float],
    other: Sequence[float],
    seed: int,
    *,
    intervals: bool,
) -> Ratio | None:
    both = [(a, b) for a, b in zip(base, other, strict=True) if 0 < a < math.inf and 0 < b < math.inf]
    if not both:
        return None
    a, b = np.array(both, dtype=float).T
    if not intervals or a.size < FEWEST:
        return Ratio(float(of(a, b)), None, None, a.size)
    drawn, tail = _draws(a.size, seed), _tail(0.025, a.size)
    low, high = np.quantile(of(a[drawn], b[drawn]), [tail, 1.0 - tail])
    return Ratio(float(of(a, b)), float(low), float(high), a.size)


def _draws(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))


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
