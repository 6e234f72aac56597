"""Scenes that are right for a wish: things whose attributes are known, partly known or free, held against real scenes.

A wish is a program of operations on such things. Carrying it out gives one pattern of a scene after every step; a
plan is right where every one of its scenes fits its pattern, with the same choices all along.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, GRID, Scene, Thing

__all__ = [
    "RELATIONS",
    "Choice",
    "Do",
    "Model",
    "Pattern",
    "Program",
    "Relation",
    "Stage",
    "follows",
    "instance",
    "possible",
    "shows",
]


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """One attribute, colour or place that is to be found: an index out of `values`. Two are equal only if the same."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A thing with choices for its attributes (as of `Thing`) and its cell."""

    shape: Choice
    colour: Choice
    size: Choice
    pattern: Choice
    cell: Choice

    @property
    def look(self) -> tuple[Choice, ...]:
        """The attributes in the order of `Thing`."""
        return self.shape, self.colour, self.size, self.pattern


@dataclass(frozen=True, slots=True)
class Pattern:
    """A scene with choices: its background and its things by label; `gone` are those that were taken away.

    `open`: what happened before is left to the plan, so only the things of `named` must be there, and others may.
    """

    ground: Choice = field(default_factory=lambda: Choice(tuple(range(len(COLOURS)))))
    things: Mapping[str, Model] = field(default_factory=dict)
    gone: Mapping[str, Model] = field(default_factory=dict)
    open: bool = False
    named: frozenset[str] = frozenset()


Do = Callable[[Pattern], Pattern]
"""One operation on a pattern."""
Choices = Mapping[Choice, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """Operations that are carried out one a step, in any order; with none, any number of steps does anything.

    Each operation is a sequence of ways to do it; a way takes one step or several.
    """

    ways: tuple[tuple[tuple[Do, ...], ...], ...] = ()


Program = Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Relation:
    """What must hold between things: `holds` is asked with the values of `choices` once all are found."""

    choices: tuple[Choice, ...]
    holds: Callable[[tuple[int, ...]], bool]

    def broken(self, found: Choices) -> bool:
        """Whether it is known not to hold."""
        values = tuple(found[one] for one in self.choices if one in found)
        return len(values) == len(self.choices) and not self.holds(values)


def _places(cells: Sequence[int]) -> list[tuple[int, int]]:
    return [divmod(cell, GRID) for cell in cells]


RELATIONS: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "row": lambda cells: len({row for row, _ in _places(cells)}) == 1,
    "column": lambda cells: len({column for _, column in _places(cells)}) == 1,
    "next": lambda cells: all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in pairwise(_places(cells))),
    "left": lambda cells: all(a == c and b < d for (a, b), (c, d) in pairwise(_places(cells))),
    "right": lambda cells: all(a == c and b > d for (a, b), (c, d) in pairwise(_places(cells))),
    "above": lambda cells: all(b == d and a < c for (a, b), (c, d) in pairwise(_places(cells))),
    "below": lambda cells: all(b == d and a > c for (a, b), (c, d) in pairwise(_places(cells))),
    "west": lambda cells: all(b < d for (_, b), (_, d) in pairwise(_places(cells))),
    "alike": lambda colours: len(set(colours)) == 1,
    "differ": lambda colours: len(set(colours)) == len(colours),
}
"""By name; `alike` and `differ` are about colours, the others about cells. `west`: further left, in any row."""


def _with(found: Choices, pairs: Sequence[tuple[Choice, int]]) -> Choices | None:
    """The choices with these values, too; None where one is another already or not among its values."""
    more = dict(found)
    for choice, value in pairs:
        if value not in choice.values or more.setdefault(choice, value) != value:
            return None
    return more


def _fits(pattern: Pattern, scene: Scene, found: Choices) -> Iterator[Choices]:
    """Every way in which a scene is one of a pattern."""
    asked = [model for label, model in pattern.things.items() if not pattern.open or label in pattern.named]
    occupied = scene.occupied
    if len(asked) > len(occupied) or (len(asked) < len(occupied) and not pattern.open):
        return
    start = found if pattern.open else _with(found, [(pattern.ground, scene.background)])
    if start is None:
        return

    def place(number: int, used: frozenset[int], now: Choices) -> Iterator[Choices]:
        if number == len(asked):
            yield now
            return
        model = asked[number]
        for cell in occupied:
            if cell not in used:
                pairs = [*zip(model.look, scene.at(cell), strict=True), (model.cell, cell)]
                then = _with(now, pairs)
                if then is not None:
                    yield from place(number + 1, used | {cell}, then)

    yield from place(0, frozenset(), start)


def _runs(
    pattern: Pattern,
    program: Program,
    scenes: Sequence[Scene],
    relations: Sequence[Relation],
    found: Choices,
) -> bool:
    """Whether the scenes, in their order, are what the program leads to from a pattern."""
    if not program:
        return not scenes
    stage, rest = program[0], program[1:]
    if not stage.ways:
        loose = replace(pattern, open=True)
        return any(_runs(loose, rest, scenes[skip:], relations, found) for skip in range(len(scenes) + 1))
    for number, ways in enumerate(stage.ways):
        left = stage.ways[:number] + stage.ways[number + 1 :]
        then = (Stage(left), *rest) if left else rest
        if any(_does(pattern, way, then, scenes, relations, found) for way in ways):
            return True
    return False


def _does(
    pattern: Pattern,
    way: tuple[Do, ...],
    rest: Program,
    scenes: Sequence[Scene],
    relations: Sequence[Relation],
    found: Choices,
) -> bool:
    if not way:
        return _runs(pattern, rest, scenes, relations, found)
    if not scenes:
        return False
    after = way[0](pattern)
    return any(
        _does(after, way[1:], rest, scenes[1:], relations, now)
        for now in _fits(after, scenes[0], found)
        if not any(relation.broken(now) for relation in relations)
    )


def follows(start: Pattern, program: Program, relations: Sequence[Relation], scenes: Sequence[Scene]) -> bool:
    """Whether the scenes after every step are right."""
    return _runs(start, program, scenes, relations, {})


def _in_order(start: Pattern, program: Program) -> list[Pattern]:
    """The pattern after every step when every operation is done in its first way, in the order of the stages."""
    patterns = [start]
    for stage in program:
        if not stage.ways:
            patterns[-1] = replace(patterns[-1], open=True)
        for ways in stage.ways:
            for do in ways[0]:
                patterns.append(do(patterns[-1]))
    return patterns[1:]


def shows(start: Pattern, program: Program, relations: Sequence[Relation], scene: Scene) -> bool:
    """Whether a scene is one that the program ends with, whichever way it came about."""
    end = [start, *_in_order(start, program)][-1]
    return any(not any(relation.broken(found) for relation in relations) for found in _fits(end, scene, {}))


def possible(start: Pattern, program: Program, relations: Sequence[Relation]) -> bool:
    """False where what is fixed already contradicts itself: two things in one cell, a relation that cannot hold."""
    fixed: dict[Choice, int] = {}
    for pattern in _in_order(start, program):
        cells = [model.cell for model in pattern.things.values() if len(model.cell.values) == 1]
        fixed.update({cell: cell.values[0] for cell in cells})
        if len({fixed[cell] for cell in cells}) < len(cells):
            return False
    return not any(relation.broken(fixed) for relation in relations)


def instance(
    start: Pattern, program: Program, relations: Sequence[Relation], rng: random.Random
) -> tuple[Scene, ...]:
    """Scenes after every step that are right, chosen at random; what is left to the plan is left out.

    Raises:
        ValueError: None were found.
    """
    patterns = _in_order(start, program)
    for _ in range(20_000):
        found = _chosen(patterns, rng)
        if any(relation.broken(found) for relation in relations):
            continue
        scenes = [_scene(pattern, found) for pattern in patterns]
        if all(scene is not None for scene in scenes):
            return tuple(scene for scene in scenes if scene is not None)
    raise ValueError("[people] no scene of this world is right")


def _chosen(patterns: Sequence[Pattern], rng: random.Random) -> dict[Choice, int]:
    every: dict[Choice, None] = {}
    for pattern in patterns:
        every[pattern.ground] = None
        for model in pattern.things.values():
            every.update(dict.fromkeys((*model.look, model.cell)))
    return {choice: rng.choice(choice.values) for choice in every}


def _scene(pattern: Pattern, found: Choices) -> Scene | None:
    """The scene with these choices; None where the world has no such scene."""
    cells: list[Thing | None] = [None] * CELLS
    for model in pattern.things.values():
        thing, cell = Thing(*(found[choice] for choice in model.look)), found[model.cell]
        if cells[cell] is not None or (thing.pattern and not thing.size):
            return None
        cells[cell] = thing
    try:
        return Scene(found[pattern.ground], tuple(cells))
    except ValueError:
        return None
