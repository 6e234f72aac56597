"""Shares with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Interval", "Share", "difference", "share", "wilson"]

Interval = tuple[float, float]

_Z = 1.959964  # of a two-sided 95 % interval


def wilson(hits: int, n: int) -> Interval | None:
    """The score interval of Wilson; None where nothing was counted.

    Example:
        >>> tuple(round(end, 3) for end in wilson(8, 10))
        (0.49, 0.943)
    """
    if n < 1:
        return None
    p, z2 = hits / n, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n`."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share in 0..1; None where nothing was counted."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval."""
        return wilson(self.hits, self.n)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, rounded."""
        value, interval = self.value, self.interval
        return {
            "n": self.n,
            "share": None if value is None else round(value, 4),
            "interval": None if interval is None else [round(end, 4) for end in interval],
        }


def share(hits: Iterable[bool]) -> Share:
    """The share of what is true."""
    found = [bool(hit) for hit in hits]
    return Share(sum(found), len(found))


def difference(more: Share, less: Share) -> tuple[float, Interval] | None:
    """`more` - `less` with the interval of Newcombe (1998, method 10), made of the two score intervals.

    It takes the two for independent. Where they are of the same requests it is wider than it need be.
    """
    a, b, of_a, of_b = more.value, less.value, more.interval, less.interval
    if a is None or b is None or of_a is None or of_b is None:
        return None
    low = math.hypot(a - of_a[0], of_b[1] - b)
    high = math.hypot(of_a[1] - a, b - of_b[0])
    return a - b, (a - b - low, a - b + high)
