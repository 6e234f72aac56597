"""Requests that go on from one to four given pictures."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import Scene, other_colour

from .clauses import Clause, continuation, edit_in_place, random_clauses
from .composites import COMPOSITES, Composite, variants
from .grammar import article
from .narratives import clauses_of
from .plans import Request, operations, plan_steps, split_of

_TRIES = 100
_NOW = ("Continue: {x}", "{x}", "Now {x}", "Please {x}", "Next: {x}", "now {x}")
_DRAWING = (
    "Continue the {n}.",
    "Finish the {n}.",
    "Go on with the {n}.",
    "Complete the {n}",
    "This will be {a}. Continue.",
    "Continue drawing the {n}.",
)


def _pictures(rng: random.Random, count: int) -> str:
    """Markers of the given pictures, in several ways to write them."""
    style = rng.randrange(3)
    if style == 0 and count > 1:
        return " ".join(f"Step {i + 1}: <image>" for i in range(count)) + " "
    if style == 1 and count == 1:
        return "Here is my picture: <image> "
    return "<image> " * count


def _request(
    rng: random.Random, kind: str, images: tuple[Scene, ...], words: str, clauses: list[Clause]
) -> Request:
    text = _pictures(rng, len(images)) + words
    done = [clause.transition for clause in clauses]
    scenes = tuple(step.after for step in done)
    split = split_of(operations(done, images))
    return Request(text, "guidance", kind, images, plan_steps(clauses, False), scenes, split)


def _given(rng: random.Random) -> tuple[Scene, ...]:
    """One to four pictures that follow each other."""
    before = random_clauses(rng, rng.randint(1, 5), edits=True)
    count = min(rng.choices((1, 2, 3, 4), (5, 3, 2, 2))[0], len(before))
    return tuple(clause.transition.after for clause in before[-count:])


def continue_wishes(rng: random.Random) -> Request:
    """Wishes that name things by what they look like."""
    images = _given(rng)
    clauses = random_clauses(rng, rng.randint(1, 3), edits=True, scene=images[-1])
    words = rng.choice(_NOW).format(x=clauses[0].text + continuation(rng, clauses[1:]))
    return _request(rng, "continue-wish", images, words, clauses)


def continue_in_place(
    rng: random.Random, kind: str | None = None, cell: int | None = None, colour: int | None = None
) -> Request:
    """A wish about whatever stands at a place: only the picture tells what it is."""
    kind = kind or rng.choice(("remove", "recolour", "recolour"))
    while True:
        images = _given(rng)
        scene = images[-1]
        if not scene.occupied:
            continue
        where = rng.choice(scene.occupied) if cell is None else cell
        thing = scene.cells[where]
        if thing is None:
            continue
        new = other_colour(rng, scene.background, thing.colour) if colour is None else colour
        clause = edit_in_place(rng, scene, kind, where, new)
        if clause is None:
            continue
        request = _request(rng, "continue-place", images, rng.choice(_NOW).format(x=clause.text), [clause])
        return replace(request, swapped=functools.partial(_swap_in_place, request, kind, where, new))


def _swap_in_place(request: Request, kind: str, cell: int, colour: int, rng: random.Random) -> Request | None:
    """The same words about other pictures in which another thing stands there."""
    for _ in range(_TRIES):
        other = continue_in_place(rng, kind, cell, colour)
        if len(other.images) == len(request.images) and other.steps[0].prompt != request.steps[0].prompt:
            return replace(other, text=request.text, swapped=None)
    return None


def continue_drawing(rng: random.Random) -> Request:
    """The rest of a named drawing of which the first steps are given; what is open is as in its default.

    The next parts that repeat an earlier choice (the other arm, the other eye) have to be read off the picture.
    """
    chosen = COMPOSITES[rng.choice(list(COMPOSITES))]
    return _drawing(rng, chosen, None)


def _drawing(rng: random.Random, chosen: Composite, shown: int | None) -> Request:
    while True:
        ground, values = rng.choice(variants(chosen.name))
        full = chosen.steps(ground, values)
        assert full is not None
        done = rng.randint(1, len(full) - 1)
        fixed = {key for part in chosen.parts[:done] for key in values if "{" + key + "}" in part.thing}
        open_values = {
            key: value if key in fixed else chosen.choices[key][0] for key, value in values.items()
        }
        found = chosen.steps(ground, open_values)
        if found is not None:
            break
    clauses = clauses_of(found)
    count = min(shown or rng.randint(1, 4), done)
    images = tuple(clause.transition.after for clause in clauses[done - count : done])
    words = rng.choice(_DRAWING).format(n=chosen.name, a=article(chosen.name))
    request = _request(rng, "continue-drawing", images, words, clauses[done:])
    return replace(request, composite=chosen.name, swapped=functools.partial(_swap_drawing, request, chosen))


def _swap_drawing(request: Request, chosen: Composite, rng: random.Random) -> Request | None:
    """The same words with pictures of another state or choice of the drawing."""
    for _ in range(_TRIES):
        other = _drawing(rng, chosen, len(request.images))
        if len(other.images) == len(request.images) and [s.prompt for s in other.steps] != [
            s.prompt for s in request.steps
        ]:
            return replace(other, text=request.text, swapped=None)
    return None


def continuing(rng: random.Random) -> Request:
    """Any of the three."""
    make = rng.choices((continue_wishes, continue_in_place, continue_drawing), (4, 3, 3))[0]
    return make(rng)
