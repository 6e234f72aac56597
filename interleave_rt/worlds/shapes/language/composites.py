"""Named drawings ("a snowman"): parts in drawing order, with a few choices each.

Parts that end a drawing are small and come after the large ones, so that they lean on them (see `layout`).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, Thing, Transition

from .files import rows
from .grammar import natural

_COLUMN = {"top": 1, "center": 4, "bottom": 7}
Step = tuple[str, str, Transition]


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a drawing: its name, the thing (with `{choice}` placeholders) and the place."""

    name: str
    thing: str
    place: str


@dataclass(frozen=True, slots=True)
class Composite:
    """A drawing with a background and choices; the first value of every choice is the default. `group`: its kind of thing."""

    name: str
    group: str
    grounds: tuple[str, ...]
    choices: dict[str, tuple[str, ...]]
    parts: tuple[Part, ...]

    def steps(
        self, ground: str, values: dict[str, str], *, column: int = 1, onto: Transition | None = None
    ) -> list[Step] | None:
        """(part name, prompt, transition) of every step; None where a part could not be seen or has no place.

        A drawing of one column can be moved to column 0 or 2, and be put beside what the step `onto` has left.
        """
        found: list[Step] = []
        background = COLOURS.index(ground)
        last = onto
        for part in self.parts:
            thing = Thing.named(part.thing.format(**values))
            cell = POSITIONS.index(part.place) + column - 1
            if thing.colour == background or (last is not None and last.after.cells[cell] is not None):
                return None
            if last is not None:
                step = Transition.add(last.after, thing, cell)
                prompt = natural(step, last.cell if found else None)
            else:
                step = Transition.draw(background, thing, cell)
                prompt = natural(step)
            found.append((part.name, prompt, step))
            last = step
        return found


def fits_a_column(composite: Composite) -> bool:
    """Whether all parts stand above each other, so that the drawing can be moved sideways."""
    return all(part.place in _COLUMN for part in composite.parts)


def _composite(name: str, group: str, grounds: str, parts: str, *choices: str) -> Composite:
    """The drawing of a line of `data/composites.tsv`."""
    values = dict(choice.split(": ") for choice in choices)
    return Composite(
        name,
        group,
        tuple(grounds.split()),
        {key: tuple(words.split()) for key, words in values.items()},
        tuple(Part(*part.split("|")) for part in parts.split("; ")),
    )


COMPOSITES = {row[0]: _composite(*row) for row in rows("composites.tsv")}
"""By name. "a snowman" and the like are made of these."""


@functools.cache
def variants(name: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Every (background, choices) of a composite that can be drawn; the defaults come first."""
    composite = COMPOSITES[name]
    found = []
    for ground in composite.grounds:
        for values in itertools.product(*composite.choices.values()):
            chosen = dict(zip(composite.choices, values, strict=True))
            if composite.steps(ground, chosen) is not None:
                found.append((ground, chosen))
    return tuple(found)
