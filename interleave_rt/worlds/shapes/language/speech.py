"""Requests without pictures in the words of people, of every kind."""

from __future__ import annotations

import random

from .compositions import composition
from .drawings import drawing, two_drawings
from .happenings import happening
from .plans import Request
from .redrawn import redrawn, together
from .tales import tale
from .wishes import wishes

_KINDS = {
    wishes: 44,
    composition: 40,
    drawing: 36,
    redrawn: 16,
    two_drawings: 10,
    together: 14,
    happening: 10,
    tale: 20,
}


def spoken(rng: random.Random) -> Request:
    """A request without pictures in the words of people."""
    (make,) = rng.choices(tuple(_KINDS), tuple(_KINDS.values()))
    return make(rng)
