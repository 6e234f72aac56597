"""Requests without pictures in the words of people, of every kind."""

from __future__ import annotations

import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES

from .composites import COMPOSITES
from .compositions import composition
from .drawings import drawing, offer_request, two_drawings
from .episodes import episode
from .grammar import article
from .happenings import happening
from .phrases import slip
from .plans import Request
from .redrawn import redrawn, together
from .successions import succession
from .tales import tale
from .versions import version
from .wishes import wishes

_SHORT = ("{x}", "{x}", "{x} please", "draw {x}", "draw {x}", "Draw {x}.", "draw {x} please", "please draw {x}", "can you draw {x}?",
          "paint {x}", "I want {x}", "show me {x}", "how do I draw {x}?", "give me {x}", "{x} pls", "a picture of {x}")  # fmt: skip


def _near(word: str, other: str) -> bool:
    """Whether one slip may lie between two words: a letter more, less or another one, or two that are swapped."""
    before = _alike(word, other)
    word, other = word[before:], other[before:]
    after = _alike(word[::-1], other[::-1])
    word, other = word[: len(word) - after], other[: len(other) - after]
    return max(len(word), len(other)) <= 1 or (len(word) == 2 and word == other[::-1])


def _alike(word: str, other: str) -> int:
    """How many letters two words have in common at their beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other))
    )


def mistyped(rng: random.Random) -> Request:
    """Nothing but a name, with one slip: "draw a huose"; it stays a request for what was meant, where only that can be meant."""
    while True:
        name = rng.choice(list(COMPOSITES))
        if rng.random() < 0.35:
            name = f"{rng.choice(COLOURS)} {rng.choice(SHAPES)}"
        slipped = slip(rng, name)
        others = {word for known in (*COMPOSITES, *COLOURS, *SHAPES) for word in known.split()} - set(
            name.split()
        )
        clear = not any(_near(word, other) for word in slipped.split() for other in others)
        if slipped != name and clear:
            request = offer_request(article(name))
            words = slipped if rng.random() < 0.3 else article(slipped)
            return replace(request, text=rng.choice(_SHORT).format(x=words))


_KINDS = {
    wishes: 44,
    succession: 28,
    composition: 40,
    drawing: 36,
    redrawn: 16,
    two_drawings: 10,
    together: 14,
    happening: 10,
    tale: 20,
    mistyped: 10,
    episode: 20,
    version: 18,
}


def spoken(rng: random.Random) -> Request:
    """A request without pictures in the words of people."""
    (make,) = rng.choices(tuple(_KINDS), tuple(_KINDS.values()))
    return make(rng)
