"""Wishes about where things are among the others: between two, somewhere, all of them one place on, none left."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, GRID, Scene, Thing, Transition

from .grammar import article
from .groups import Wish
from .places import CORNERS
from .seeing import GONE, GROUND, both_named, called_in_line
from .wishes import ORDER, each, random_item, thing_words

BETWEEN = {(0, 2): 1, (3, 5): 4, (6, 8): 7, (0, 6): 3, (1, 7): 4, (2, 8): 5, (0, 8): 4, (2, 6): 4}
"""Two cells, and the one that lies between them."""

NOUNS = ("the top left corner", "the top", "the top right corner", "the left side", "the middle", "the right side", "the bottom left corner",
         "the bottom", "the bottom right corner")  # fmt: skip
"""The places as things."""
POINTS = (4, *CORNERS)
"""Places of one cell, of which "the top" may be three."""


def new_thing(rng: random.Random) -> tuple[Thing, str]:
    """Something new, and its words with an article."""
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    words = thing_words(rng, item)
    new = item.seen()
    return new, words if words.startswith(("a ", "an ")) else article(re.sub(r"^one ", "", words))


def a_middle(
    rng: random.Random, scene: Scene, *, empty: bool = False
) -> tuple[tuple[int, int], int, str] | None:
    """Two things, the cell between them (with `empty`, one that holds nothing), and "between the .. and the ..".

    None where there is no such pair, or one of it has no name.
    """
    pairs = [
        pair
        for pair, cell in BETWEEN.items()
        if all(scene.cells[i] is not None for i in pair) and not (empty and scene.cells[cell] is not None)
    ]
    if not pairs:
        return None
    pair = rng.choice(pairs)
    names = both_named(rng, scene, rng.sample(pair, 2))
    return names and (pair, BETWEEN[pair], f"between {names[0]} and {names[1]}")


def between(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """Something new or another thing goes between two things."""
    middle = a_middle(rng, scene, empty=True)
    if middle is None:
        return None
    pair, cell, w = middle
    if len(scene.occupied) == 2:
        w = rng.choice((w, w, "between them", "between the two", "in between", "between the two things"))
    others = [i for i in scene.occupied if i not in pair]
    if others and rng.random() < 0.5:
        moved = rng.choice(others)
        r = called_in_line(rng, scene, moved, before)
        if r is None or " the " in r:
            return None
        form = rng.choice(
            (
                "put {r} {w}",
                "move {r} {w}",
                "{r} should be {w}",
                "{r} goes {w}",
                "I want {r} {w}",
                "place {r} {w}",
            )
        )
        return Wish(form.format(r=r, w=w), [Transition.move(scene, moved, cell)])
    new, x = new_thing(rng)
    form = rng.choice(("add {x} {w}", "put {x} {w}", "draw {x} {w}", "{x} {w}", "{w} there should be {x}", "place {x} {w}", "{w} I want {x}",
                       "there should be {x} {w}", "I'd like {x} {w}", "{w} goes {x}"))  # fmt: skip
    return Wish(form.format(x=x, w=w), [Transition.add(scene, new, cell)])


def somewhere(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Something new, anywhere or in any corner."""
    new, x = new_thing(rng)
    corners = [cell for cell in CORNERS if scene.cells[cell] is None]
    if rng.random() < 0.5 and corners:
        cell = corners[0]
        w = rng.choice(
            (
                "in a corner",
                "in one of the corners",
                "in any corner",
                "in some corner",
                "in one corner",
                "in a free corner",
            )
        )
        if len(corners) == 1:
            w = rng.choice(
                ("in the free corner", "in the last corner", "in the empty corner", "in the remaining corner")
            )
    else:
        cell = next(i for i in ORDER if scene.cells[i] is None)
        w = rng.choice(("somewhere", "anywhere", "wherever you like", "where there is room", "in a free place", "in an empty place", "somewhere on it",
                        "at any place", "wherever it fits", "anywhere you want", "where it's empty"))  # fmt: skip
    form = rng.choice(("add {x} {w}", "put {x} {w}", "draw {x} {w}", "{x} {w}", "place {x} {w}", "I want {x} {w}", "there should be {x} {w}",
                       "I'd like {x} {w}", "it needs {x} {w}"))  # fmt: skip
    return Wish(form.format(x=x, w=w), [Transition.add(scene, new, cell)])


def nothing_left(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Everything goes, in reading order."""
    cells = scene.occupied
    if not 1 < len(cells) <= 4:
        return None
    forms = ["remove everything", "delete everything", "clear the picture", "delete all", "take everything away", "empty the picture", "remove all things",
             "erase it all", "clear everything", "I want an empty picture", "nothing should be left", "get rid of everything", "wipe it clean",
             "throw everything out", "remove all of them", "leave only the background", "clear all", "delete all shapes", "just the background",
             "everything should go", "keep nothing but the background"]  # fmt: skip
    if len(cells) == 2:
        forms += [
            "remove both",
            "delete both of them",
            "take both away",
            "remove the two things",
            "both should go",
        ]
    return Wish(rng.choice(forms), each(scene, cells, Transition.remove), about=GONE)


def one_place_on(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """All things move one place the same way; who goes ahead moves first."""
    cells = list(scene.occupied)
    if not 1 < len(cells) <= 4:
        return None
    right, down, w = rng.choice(
        ((1, 0, "to the right"), (-1, 0, "to the left"), (0, 1, "down"), (0, -1, "up"))
    )
    if not all(0 <= i % GRID + right < GRID and 0 <= i // GRID + down < GRID for i in cells):
        return None
    cells.sort(key=lambda i: -(i % GRID * right + i // GRID * down))
    e = rng.choice(("everything", "everything", "all things", "all of them", "all the shapes"))
    if len(cells) == 2:
        e = rng.choice((e, "both", "both things", "the two things"))
    form = rng.choice(("move {e} one place {w}", "shift {e} one place {w}", "move {e} {w} by one", "{e} one step {w}", "move {e} a bit {w}",
                       "push {e} one place {w}", "{e} should move one place {w}"))  # fmt: skip
    steps = each(scene, cells, lambda now, i: Transition.move(now, i, i + right + GRID * down))
    return Wish(form.format(e=e, w=w), steps, about=GROUND)
