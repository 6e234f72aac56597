"""Where things sit inside their cells: chosen when they are put there, kept until they go, never part of a prompt.

Things that stand above, below or beside another one move towards it, so that the parts of a drawing touch. A large
thing that stands alone has one place, a small one has two: left and right. Nobody says which, so a generator has to
make it up: that is what gives its denoising steps something to do.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from .world import CELLS, GRID, Scene


class Spot(NamedTuple):
    """Pixels right and down from the middle of the cell."""

    right: int
    down: int


Layout = tuple["Spot | None", ...]
EMPTY: Layout = (None,) * CELLS

_LEANING = {0: 7, 1: 2}  # by size: small, large
_ASIDE = 4
_RESTING = {0: ((-_ASIDE, _ASIDE), (_ASIDE, _ASIDE)), 1: ((0, _LEANING[1]),)}


def _spots(size: int) -> tuple[tuple[int, int], ...]:
    leaning = _LEANING[size]
    return tuple(dict.fromkeys((*_RESTING[size], (-leaning, 0), (leaning, 0), (0, -leaning), (0, leaning))))


SMALL = _spots(0)
"""Every (right, down) of a small thing: left or right where it stands alone, and one for each side that it leans to.

They lie far apart, and one choice of two is all that nobody asks for: a generator of few denoising steps paints the
average of choices that it cannot tell from its noise.
"""
LARGE = _spots(1)
"""Every (right, down) of a large thing: one for each side that it leans to; where it stands alone, it leans down."""


def _towards(scene: Scene, cell: int) -> tuple[int, int]:
    """The direction (right, down) of the neighbour that a thing leans on: below, above, then beside; (0, 0) if none."""
    row, column = divmod(cell, GRID)
    for right, down in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        x, y = column + right, row + down
        if 0 <= x < GRID and 0 <= y < GRID and scene.cells[y * GRID + x] is not None:
            return right, down
    return 0, 0


def _spot(scene: Scene, cell: int, rng: random.Random) -> Spot:
    size = scene.at(cell).size
    right, down = _towards(scene, cell)
    if right or down:
        return Spot(right * _LEANING[size], down * _LEANING[size])
    return Spot(*rng.choice(_RESTING[size]))


def arranged(before: Scene | None, layout: Layout, after: Scene, rng: random.Random) -> Layout:
    """The layout of `after`: things that were there keep their spots (also recoloured ones), new ones get one."""
    spots: list[Spot | None] = []
    for cell, thing in enumerate(after.cells):
        old = None if before is None else before.cells[cell]
        if thing is None:
            spots.append(None)
        elif old is not None and old._replace(colour=thing.colour) == thing and layout[cell] is not None:
            spots.append(layout[cell])
        else:
            spots.append(_spot(after, cell, rng))
    return tuple(spots)


def random_layout(scene: Scene, rng: random.Random) -> Layout:
    """A layout that comes about when the things are put down one after the other, in random order."""
    order = list(scene.occupied)
    rng.shuffle(order)
    now, layout = Scene(scene.background), EMPTY
    for cell in order:
        then = now.put(cell, scene.cells[cell])
        layout = arranged(now, layout, then, rng)
        now = then
    return layout
