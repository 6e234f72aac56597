"""Shares of arms with intervals: a bootstrap over seeds and requests, in which arms are compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Tally", "counted", "difference", "estimate", "value_of"]

Tally = NDArray[np.float64]
"""A figure of one arm and seed, [parts, 2, requests]: hits and cases of each request. Its value is the mean, over the parts,
of the shares of hits: one part is a share, two are a balanced accuracy."""

_DRAWS = 2000
_LEVEL = 95.0


class Estimate(NamedTuple):
    """A value with its 95 % interval; None: there is none.

    `seeds` and `cases`: what it rests on (of a difference the cases of both arms, those of each seed counted).
    """

    value: float | None
    low: float | None
    high: float | None
    seeds: int
    cases: int


def counted(rows: Sequence[Sequence[bool]]) -> Tally:
    """A share: of every request the cases, and whether each is a hit."""
    return np.array([[[sum(row) for row in rows], [len(row) for row in rows]]], np.float64)


def value_of(tally: Tally) -> float | None:
    """The figure of one arm and seed; None where a part has no case."""
    hits, cases = tally.sum(-1).T
    return float((hits / cases).mean()) if (cases > 0).all() else None


def estimate(tallies: Sequence[Tally], seed: int = 0) -> Estimate:
    """The mean over seeds, and its interval.

    Seeds and requests are drawn anew, both with replacement: a request with all of its steps, in all seeds alike, as the
    seeds were measured with the same requests. With one seed the interval is of requests alone.

    Args:
        tallies: One a seed, all of the same requests.
        seed: Of the draws.
    """
    return _drawn(tallies, None, seed)


def difference(more: Sequence[Tally], less: Sequence[Tally], seed: int = 0) -> Estimate:
    """`more` - `less`, in pairs: both arms have the same seeds and requests, and are drawn alike.

    Args:
        more: One a seed.
        less: Of the same seeds, in the same order.
        seed: Of the draws.
    """
    if len(more) != len(less):
        raise ValueError(f"{len(more)} seeds against {len(less)}: pairs are wanted")
    return _drawn(more, less, seed)


def _drawn(tallies: Sequence[Tally], against: Sequence[Tally] | None, seed: int) -> Estimate:
    arms = [tallies] if against is None else [tallies, against]
    count = len(tallies)
    cases = int(sum(tally[:, 1].sum() for arm in arms for tally in arm))
    means = [_mean([value_of(tally) for tally in arm]) for arm in arms]
    if not count or any(mean is None for mean in means):
        return Estimate(None, None, None, count, cases)
    value = means[0] - means[1] if against is not None else means[0]  # type: ignore[operator]
    weights = _weights(tallies[0].shape[-1], seed)
    seeds = np.random.default_rng((seed, 1)).integers(0, count, (_DRAWS, count))
    found = np.zeros(_DRAWS)
    for sign, arm in zip((1, -1), arms, strict=False):
        sums: NDArray[np.float64] = np.einsum("dr,spcr->dspc", weights, np.stack(arm), optimize=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = (sums[..., 0] / sums[..., 1]).mean(-1)
        found += sign * np.take_along_axis(each, seeds, 1).mean(1)
    found = found[np.isfinite(found)]  # a draw without a case says nothing
    if not found.size:
        return Estimate(value, None, None, count, cases)
    low, high = np.percentile(found, [50 - _LEVEL / 2, 50 + _LEVEL / 2])
    return Estimate(value, float(low), float(high), count, cases)


@cache
def _weights(requests: int, seed: int) -> NDArray[np.float64]:
    """How often each request is drawn, [draws, requests]: the same for every figure of the same requests."""
    rng = np.random.default_rng((seed, 0))
    return rng.multinomial(requests, np.full(requests, 1 / requests), _DRAWS).astype(np.float64)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
