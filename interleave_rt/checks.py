"""Checks of what callers give; an error names the setting, its value and what is possible."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import BadRequestError


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises `BadRequestError` where a value is none of these."""
    if not isinstance(value, str) or value not in allowed:
        raise BadRequestError(f"{name} is {value!r}", hint=f"it is {' or '.join(allowed)}")


def switch(name: str, value: object) -> None:
    """Raises `BadRequestError` where a value is neither true nor false."""
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} is {value!r}: give True or False")


def whole(name: str, value: object, low: int, high: int) -> int:
    """The value, where it is a whole number of this range, ends included; of any type that is one, as numpy's."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise BadRequestError(f"{name} is {value!r}: give a whole number from {low} to {high}")
    return number


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raises `BadRequestError` where a number is out of its range, ends included, or is not finite."""
    if not isinstance(value, int | float) or not low <= value <= high or math.isinf(value):
        possible = f"at least {low:.12g} is" if high == math.inf else f"{low:.12g} to {high:.12g} are"
        raise BadRequestError(f"{name} is {value!r}: {possible} possible")


def with_seed_text(seed: int) -> dict[str, Any]:
    """A seed in JSON: the number, and its text for readers whose numbers have 53 bits."""
    return {"seed": seed, "seed_text": str(seed)}


def exact_seed(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A dict with the seed that its text says, where there is one: the number may have been rounded on its way."""
    text = raw.get("seed_text")
    if not isinstance(text, str) or not (text.isdecimal() and text.isascii() and len(text) <= 20):
        return raw
    return {**raw, "seed": int(text)}
