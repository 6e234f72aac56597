"""Checks of what callers give; an error names the setting, its value and what is possible."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import BadRequestError


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises `BadRequestError` where a value is none of these."""
    if value not in allowed:
        raise BadRequestError(f"{name} is {value!r}", hint=f"it is {' or '.join(allowed)}")


def whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raises `BadRequestError` where a value is no whole number of this range, ends included."""
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        end = "on" if high is None else f"to {high}"
        raise BadRequestError(f"{name} is {value!r}: give a whole number from {low} {end}")


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raises `BadRequestError` where a number is out of its range, ends included."""
    if not isinstance(value, int | float) or not low <= value <= high:
        possible = f"at least {low:g} is" if high == math.inf else f"{low:g} to {high:g} are"
        raise BadRequestError(f"{name} is {value!r}: {possible} possible")
