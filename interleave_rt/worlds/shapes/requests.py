"""Seeded requests with their one right plan: what the planner learns and what the system is measured with."""

from __future__ import annotations

import random
from collections.abc import Callable

from .language import (
    GROUPS,
    REASONS,
    Mode,
    PlanStep,
    Request,
    Split,
    about,
    about_a_picture,
    asked,
    continuing,
    long_series,
    narrative,
    offer_request,
    offers,
    outside_request,
    pair,
    question,
    spoken,
)
from .people import is_kept_out
from .scene import Scene

__all__ = [
    "Mode",
    "PlanStep",
    "Request",
    "Split",
    "any_request",
    "collect",
    "continuing",
    "guidance",
    "narrative",
    "outside_request",
    "question",
    "sample",
    "unseen",
]


def guidance(rng: random.Random) -> Request:
    """A request with pictures to continue or to answer about (or a question about the program)."""
    kind = rng.random()
    if kind < 0.04:
        return about(rng)
    return question(rng) if kind < 0.4 else continuing(rng)


def _as_people_speak(rng: random.Random) -> Request:
    """Requests of all kinds in the words of people."""
    make = rng.choices((spoken, about_a_picture, asked, _offer), (49, 26, 19, 6))[0]
    return make(rng)


def _offer(rng: random.Random) -> Request:
    """What a refusal offers, as it stands."""
    return offer_request(rng.choice(offers(rng.choice(list(GROUPS)), rng.choice(list(REASONS)))))


def unseen(rng: random.Random) -> Request:
    """A composition of a kind that training does not hold: more wishes, or two drawings that never stood together."""
    return pair(rng, unseen=True) if rng.random() < 0.5 else long_series(rng)


def any_request(rng: random.Random) -> Request:
    """A request as the planner meets them in training: none of the sentences that people wrote is among them."""
    while True:
        make = rng.choices((narrative, guidance, outside_request, _as_people_speak), (12, 12, 16, 60))[0]
        request = make(rng)
        if not is_kept_out(request.text):
            return request


def collect(make: Callable[[random.Random], Request], split: Split, count: int, seed: str) -> list[Request]:
    """`count` different requests of one split, always the same for the same arguments."""
    rng = random.Random(f"{split}/{seed}")
    found: dict[tuple[str, tuple[Scene, ...]], Request] = {}
    while len(found) < count:
        request = make(rng)
        if request.split == split:
            found.setdefault((request.text, request.images), request)
    return list(found.values())


def sample(split: Split, count: int, seed: int, mode: Mode = "narrative") -> list[Request]:
    """`count` different requests of one split and mode, always the same for the same arguments."""
    return collect(narrative if mode == "narrative" else guidance, split, count, f"{mode}/{seed}")
