"""Single edits of a scene, and random ones for training."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .world import CELLS, COLOURS, SHAPES, SIZES, Scene, Thing, random_scene, random_thing

OPERATIONS = ("draw", "add", "remove", "recolour", "move")
_SHARES = (0.14, 0.42, 0.14, 0.16, 0.14)
EVERY_OPERATION = (*OPERATIONS, "replace", "ground")
"""With those that only people ask for in so many words: another thing in its place, another background."""
_EVERY_SHARE = (0.13, 0.38, 0.12, 0.14, 0.12, 0.06, 0.05)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step: what is done (one of `EVERY_OPERATION`), to which cell, and the scenes around it.

    `before` is None for a drawing from nothing; `to` is the target cell of a move; another background (`ground`) has
    no cell: `cell` is 0 and nothing is touched.
    """

    operation: str
    before: Scene | None
    after: Scene
    cell: int
    to: int | None = None

    @property
    def touched(self) -> tuple[int, ...]:
        """Cells whose content the step is about."""
        if self.operation == "ground":
            return ()
        return (self.cell,) if self.to is None else (self.cell, self.to)

    @classmethod
    def draw(cls, background: int, thing: Thing, cell: int) -> Transition:
        """A new picture with one thing."""
        return cls("draw", None, Scene(background).put(cell, thing), cell)

    @classmethod
    def add(cls, before: Scene, thing: Thing, cell: int) -> Transition:
        """One more thing in an empty cell."""
        return cls("add", before, before.put(cell, thing), cell)

    @classmethod
    def remove(cls, before: Scene, cell: int) -> Transition:
        """One thing fewer."""
        return cls("remove", before, before.put(cell, None), cell)

    @classmethod
    def recolour(cls, before: Scene, cell: int, colour: int) -> Transition:
        """The same thing in another colour."""
        return cls("recolour", before, before.put(cell, before.at(cell)._replace(colour=colour)), cell)

    @classmethod
    def move(cls, before: Scene, cell: int, to: int) -> Transition:
        """The same thing in another, empty cell."""
        return cls("move", before, before.put(to, before.at(cell)).put(cell, None), cell, to)

    @classmethod
    def replace(cls, before: Scene, cell: int, thing: Thing) -> Transition:
        """Another thing where one stands."""
        return cls("replace", before, before.put(cell, thing), cell)

    @classmethod
    def ground(cls, before: Scene, colour: int) -> Transition:
        """The same things on another background."""
        return cls("ground", before, Scene(colour, before.cells), 0)


def other_colour(rng: random.Random, *taken: int) -> int:
    """A colour that is none of `taken`: mostly the background's, so that it is seen, and the one that a thing has."""
    return rng.choice([c for c in range(len(COLOURS)) if c not in taken])


def _alike_scene(rng: random.Random, things: int) -> Scene:
    """A scene of few kinds of things, as drawings of real objects are (three white circles, four petals)."""
    background = rng.randrange(len(COLOURS))
    kinds = [random_thing(rng, background) for _ in range(rng.randint(1, 2))]
    cells: list[Thing | None] = [None] * CELLS
    for cell in rng.sample(range(CELLS), things):
        thing = rng.choice(kinds)
        change = rng.random()
        if change < 0.3:
            thing = thing._replace(size=rng.randrange(len(SIZES)), pattern=0)
        elif change < 0.5:
            thing = thing._replace(shape=rng.randrange(len(SHAPES)))
        elif change < 0.7:
            thing = thing._replace(colour=random_thing(rng, background).colour)
        cells[cell] = thing
    return Scene(background, tuple(cells))


def random_transition(
    rng: random.Random,
    operation: str | None = None,
    *,
    scene: Scene | None = None,
    most: int = 5,
    every: bool = False,
) -> Transition:
    """A random step on `scene`, or on a random one of up to `most` things; `every` takes all of `EVERY_OPERATION`."""
    kinds, shares = (EVERY_OPERATION, _EVERY_SHARE) if every else (OPERATIONS, _SHARES)
    operation = operation or rng.choices(kinds[scene is not None :], shares[scene is not None :])[0]
    if operation == "draw":
        background = rng.randrange(len(COLOURS))
        return Transition.draw(background, random_thing(rng, background), rng.randrange(CELLS))
    if scene is None:
        count = rng.randint(1, most)
        scene = _alike_scene(rng, count) if rng.random() < 0.4 else random_scene(rng, count)
    if operation == "add":
        near = [
            i
            for i in scene.empty
            if any(abs(i // 3 - j // 3) + abs(i % 3 - j % 3) == 1 for j in scene.occupied)
        ]
        thing = rng.choice(scene.cells)
        if thing is None or rng.random() < 0.7:
            thing = random_thing(rng, scene.background)
        return Transition.add(scene, thing, rng.choice(near if rng.random() < 0.7 else scene.empty))
    cell = rng.choice(scene.occupied)
    if operation == "remove":
        return Transition.remove(scene, cell)
    if operation == "recolour":
        return Transition.recolour(scene, cell, other_colour(rng, scene.background, scene.at(cell).colour))
    if operation == "replace":
        old = scene.at(cell)
        thing = random_thing(rng, scene.background)
        if thing[0::2] == old[0::2]:  # only its colour or its pattern differs, if anything
            thing = thing._replace(shape=(old.shape + 1 + rng.randrange(len(SHAPES) - 1)) % len(SHAPES))
        return Transition.replace(scene, cell, thing)
    if operation == "ground":
        seen = {scene.background, *(scene.at(i).colour for i in scene.occupied)}
        return Transition.ground(scene, other_colour(rng, *seen))
    return Transition.move(scene, cell, rng.choice(scene.empty))
