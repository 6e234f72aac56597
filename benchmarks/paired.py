"""Paired comparison of arms that ran the same requests: ratios with 95 % intervals, and a split that multiplies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Ratio:
    """How many times longer one arm takes than another: the geometric mean over requests and its 95 % interval.

    One pair alone has no interval.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "ratio": round(self.value, 4),
            "interval": None
            if self.low is None or self.high is None
            else [round(self.low, 4), round(self.high, 4)],
            "pairs": self.pairs,
        }

    def __str__(self) -> str:
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{bounds}"


def paired_ratio(slower: Sequence[float], faster: Sequence[float], seed: int = 1) -> Ratio:
    """`slower[i] / faster[i]` over requests: geometric mean, bootstrap interval over requests.

    Raises:
        ValueError: The arms have different numbers of requests, none, or a time that is not above 0.
    """
    if len(slower) != len(faster) or len(slower) == 0:
        raise ValueError(f"[paired_ratio] {len(slower)} and {len(faster)} times: as many of each are wanted")
    if min(*slower, *faster) <= 0:
        raise ValueError("[paired_ratio] a time is not above 0")
    logs = np.log(np.asarray(slower, float)) - np.log(np.asarray(faster, float))
    if len(logs) == 1:
        return Ratio(math.exp(logs[0]), None, None, 1)
    draws = np.random.default_rng(seed).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), (0.025, 0.975))
    return Ratio(math.exp(logs.mean()), math.exp(low), math.exp(high), len(logs))


def gain_split(arms: Sequence[tuple[str, Sequence[float]]], seed: int = 1) -> list[tuple[str, Ratio]]:
    """From the first arm to the last, the gain of every arm over the one before; the product is the whole gain.

    The geometric mean makes the product exact: paired ratios multiply request by request, medians do not.

    Args:
        arms: Name and times per request, from slow to fast; the first is the baseline.
        seed: Of the bootstrap.
    """
    if len(arms) < 2:
        raise ValueError("[gain_split] a baseline and at least one arm are wanted")
    pairs = itertools.pairwise(arms)
    return [(name, paired_ratio(before, after, seed)) for (_, before), (name, after) in pairs]


def per_request(samples: Mapping[tuple[str, int], Sequence[float]], arm: str, count: int) -> list[float]:
    """The median of each request's repeats in an arm."""
    return [float(np.median(samples[arm, index])) for index in range(count)]


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The arms in the order of one turn: each comes first as often as the others."""
    shift = turn % len(names)
    return [*names[shift:], *names[:shift]]
