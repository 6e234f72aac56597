"""What exists in the shapes world: things, the 3x3 grid they stand on, and scenes made of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

GRID = 3
CELLS = GRID * GRID
SHAPES = ("circle", "square", "triangle", "diamond", "star", "ring", "heart", "bowl")
SIZES = ("small", "large")
PATTERNS = ("plain", "striped", "dotted")
POSITIONS = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
RGB = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 40),
    "orange": (245, 130, 30),
    "brown": (125, 75, 40),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
COLOURS = tuple(RGB)


class Thing(NamedTuple):
    """One object: indices into `SHAPES`, `COLOURS`, `SIZES` and `PATTERNS`.

    Only large things have patterns: a small one would not be recognised.
    """

    shape: int
    colour: int
    size: int
    pattern: int = 0

    @property
    def name(self) -> str:
        """The full name, e.g. ``small blue star`` or ``large striped red heart`` (plain goes without saying)."""
        pattern = f"{PATTERNS[self.pattern]} " if self.pattern else ""
        return f"{SIZES[self.size]} {pattern}{COLOURS[self.colour]} {SHAPES[self.shape]}"

    @classmethod
    def named(cls, name: str) -> Thing:
        """The thing with this full name: the inverse of `name`."""
        size, *pattern, colour, shape = name.split()
        return cls(
            SHAPES.index(shape),
            COLOURS.index(colour),
            SIZES.index(size),
            PATTERNS.index(pattern[0]) if pattern else 0,
        )


Cells = tuple["Thing | None", ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A background colour (index into `COLOURS`) and nine cells in reading order.

    No thing has the colour of the background: it could not be seen.
    """

    background: int
    cells: Cells = (None,) * CELLS

    def __post_init__(self) -> None:
        if len(self.cells) != CELLS:
            raise ValueError(f"[Scene] {len(self.cells)} cells given, a scene has {CELLS}")
        if any(thing is not None and thing.colour == self.background for thing in self.cells):
            raise ValueError(f"[Scene] a {COLOURS[self.background]} thing cannot be seen on its own colour")

    @property
    def occupied(self) -> tuple[int, ...]:
        """Indices of the cells that hold a thing."""
        return tuple(i for i, thing in enumerate(self.cells) if thing is not None)

    @property
    def empty(self) -> tuple[int, ...]:
        """Indices of the cells that hold nothing."""
        return tuple(i for i, thing in enumerate(self.cells) if thing is None)

    def at(self, cell: int) -> Thing:
        """The thing in a cell that is known to be occupied."""
        thing = self.cells[cell]
        if thing is None:
            raise ValueError(f"[Scene.at] the cell {POSITIONS[cell]} is empty")
        return thing

    def put(self, cell: int, thing: Thing | None) -> Scene:
        """The same scene with one cell replaced."""
        return Scene(self.background, (*self.cells[:cell], thing, *self.cells[cell + 1 :]))

    def describe(self) -> str:
        """One line of canonical text; equal for equal scenes only."""
        things = ", ".join(f"{self.at(i).name} at the {POSITIONS[i]}" for i in self.occupied)
        return f"{COLOURS[self.background]}: {things or 'nothing'}"


def random_thing(rng: random.Random, background: int) -> Thing:
    """A thing that can be seen on this background; half of the large ones are plain."""
    colour, size = rng.randrange(len(COLOURS) - 1), rng.randrange(len(SIZES))
    pattern = rng.choice((0, 0, 1, 2)) if size else 0
    return Thing(rng.randrange(len(SHAPES)), colour + (colour >= background), size, pattern)


def random_scene(rng: random.Random, things: int) -> Scene:
    """A scene with this many things at random places."""
    background = rng.randrange(len(COLOURS))
    cells: list[Thing | None] = [None] * CELLS
    for cell in rng.sample(range(CELLS), things):
        cells[cell] = random_thing(rng, background)
    return Scene(background, tuple(cells))
