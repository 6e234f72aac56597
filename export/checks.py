"""What a check of an exported graph found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .sessions import Floats

__all__ = ["Comparison", "Parity", "Tally", "all_passed"]


@dataclass(frozen=True, slots=True)
class Parity:
    """One graph (or chain of graphs) against PyTorch: the largest deviation and what is allowed."""

    part: str
    metric: str
    value: float
    limit: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is allowed."""
        return self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain data for parity.json."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Bit-equality of one part over the ways of batching it; `kinds` counts what was varied."""

    part: str
    compared: int
    different: int
    largest: float
    kinds: dict[str, int]
    first: str

    @property
    def passed(self) -> bool:
        """Whether every output had the same bits."""
        return self.different == 0 and self.compared > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for parity.json."""
        return asdict(self) | {"passed": self.passed}


class Tally:
    """Collects comparisons of one part."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._compared = self._different = 0
        self._largest = 0.0
        self._kinds: dict[str, int] = {}
        self._first = ""

    def compare(self, kind: str, case: str, expected: Iterable[Floats], actual: Iterable[Floats]) -> None:
        """One comparison: all arrays bit for bit. `kind` names what varies, `case` says which."""
        self._compared += 1
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        pairs = list(zip(expected, actual, strict=True))
        if all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs):
            return
        self._different += 1
        self._first = self._first or f"{kind}: {case}"
        gaps = [float(np.abs(a - b).max()) for a, b in pairs if a.shape == b.shape and a.size]
        self._largest = max([self._largest, *gaps])

    def result(self) -> Comparison:
        """What was found."""
        return Comparison(
            self._part, self._compared, self._different, self._largest, self._kinds, self._first
        )


def all_passed(checks: Iterable[Parity | Comparison]) -> bool:
    """Whether nothing failed."""
    return all(check.passed for check in checks)
